using System.CommandLine;
using System.CommandLine.Parsing;
using Vmm.Cli.Images;
using Vmm.Cli.Terminal;
using Vmm.Core.Errors;
using Vmm.Devices.Storage;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm image</c>: makes, describes, checks, converts and resizes disk images.</summary>
internal static class ImageCommand
{
    public static Command Create(HostStreams streams)
    {
        var command = new Command("image", "Makes, describes, checks, converts and resizes disk images. A format is always stated, never guessed.");
        command.Add(CreateImage(streams));
        command.Add(Describe(streams));
        command.Add(Check(streams));
        command.Add(Convert(streams));
        command.Add(Resize(streams));
        return command;
    }

    private static Command CreateImage(HostStreams streams)
    {
        var (file, size) = (File(), new Argument<string>("SIZE") { Description = "The disk's size, with a unit: 10G." });
        var format = Format("--format", "raw or qcow2.", ["raw", "qcow2"]);
        var options = new QcowArguments();
        var force = Force();
        var command = new Command("create", "Makes an empty image.") { file, size, format, force };
        options.AddTo(command);
        command.SetAction((parsed, _) => RunAsync(() => new ImageWork(streams).CreateAsync(parsed.GetValue(file)!, parsed.GetRequiredValue(format), Size(parsed.GetValue(size)!), options.Read(parsed), parsed.GetValue(force))));
        return command;
    }

    private static Command Describe(HostStreams streams)
    {
        var (file, format) = (File(), Format("--format", "raw, qcow2, vhdx or vmdk.", All));
        var command = new Command("info", "Tells what an image is like.") { file, format };
        command.SetAction((parsed, _) => RunAsync(() => new ImageWork(streams).DescribeAsync(parsed.GetValue(file)!, parsed.GetRequiredValue(format))));
        return command;
    }

    private static Command Check(HostStreams streams)
    {
        var (file, format) = (File(), Format("--format", "qcow2, or raw, vhdx or vmdk, of which all is read.", All));
        var repair = new Option<string?>("--repair") { HelpName = "leaks|all", Description = "qcow2: frees clusters that nothing uses, or sets all reference counts right." };
        repair.AcceptOnlyFromAmong("leaks", "all");
        var command = new Command("check", "Looks for damage. Exit code 0: none; 2: damage; 3: only clusters that are counted and not used.") { file, format, repair };
        command.SetAction((parsed, _) => RunAsync(() => new ImageWork(streams).CheckAsync(parsed.GetValue(file)!, parsed.GetRequiredValue(format), parsed.GetValue(repair))));
        return command;
    }

    private static Command Convert(HostStreams streams)
    {
        Argument<string> source = new("SOURCE") { Description = "The image to read." }, target = new("TARGET") { Description = "The image to make." };
        var from = Format("--from", "The source's format: raw, qcow2, vhdx or vmdk.", All);
        var to = Format("--to", "The target's format: raw or qcow2.", ["raw", "qcow2"]);
        var compress = new Option<bool>("--compress") { Description = "Compress clusters (qcow2)." };
        var snapshot = new Option<string?>("--snapshot") { HelpName = "ID", Description = "Read an internal snapshot of a qcow2 image." };
        var backing = new Option<string?>("--backing") { HelpName = "FOLDER", Description = "Allow the source to lie over images of this folder (qcow2). Default: refused." };
        var options = new QcowArguments();
        var force = Force();
        var command = new Command("convert", "Copies an image into another format; zeros take no space.") { source, target, from, to, compress, snapshot, backing, force };
        options.AddTo(command);
        command.SetAction((parsed, cancellationToken) => RunAsync(() => new ImageWork(streams).ConvertAsync(
            parsed.GetValue(source)!, parsed.GetRequiredValue(from), new DiskOptions { ReadOnly = true, Snapshot = parsed.GetValue(snapshot), BackingFolder = parsed.GetValue(backing) },
            parsed.GetValue(target)!, parsed.GetRequiredValue(to), options.Read(parsed), parsed.GetValue(compress), parsed.GetValue(force), cancellationToken)));
        return command;
    }

    private static Command Resize(HostStreams streams)
    {
        var (file, size) = (File(), new Argument<string>("SIZE") { Description = "The new size, with a unit, or a change: 20G, +5G." });
        var format = Format("--format", "raw or qcow2.", ["raw", "qcow2"]);
        var shrink = new Option<bool>("--shrink") { Description = "Allow a smaller size: what is beyond it is lost." };
        var command = new Command("resize", "Changes a disk's size.") { file, size, format, shrink };
        command.SetAction((parsed, _) => RunAsync(() =>
        {
            var text = parsed.GetValue(size)!;
            return new ImageWork(streams).ResizeAsync(parsed.GetValue(file)!, parsed.GetRequiredValue(format), Size(text.TrimStart('+')), isChange: text.StartsWith('+'), parsed.GetValue(shrink));
        }));
        return command;
    }

    private static string[] All => ["raw", "qcow2", "vhdx", "vmdk"];

    private static Argument<string> File() => new("FILE") { Description = "The image." };

    private static Option<bool> Force() => new("--force") { Description = "Overwrite a file that is there." };

    private static Option<DiskFormat> Format(string name, string description, string[] values)
    {
        var option = new Option<DiskFormat>(name) { HelpName = string.Join('|', values), Description = description, Required = true, CustomParser = r => Parse(r, values) };
        option.CompletionSources.Add(values);
        return option;
    }

    private static DiskFormat Parse(ArgumentResult result, string[] values)
    {
        var text = result.Tokens is [{ Value: var value }] ? value : "";
        if (values.Contains(text)) return DiskNames.Parse(text)!.Value;
        result.AddError($"{(result.Parent as OptionResult)?.Option.Name} {text}: choose {string.Join(", ", values[..^1])} or {values[^1]}.");
        return default;
    }

    private static long Size(string text) =>
        Units.Size(text) is <= long.MaxValue and var size && size % 512 == 0 ? (long)size : throw new CliException(ExitCode.BadArguments, $"SIZE {text}: give a multiple of 512 with a unit, such as 512M or 10G.");

    private static async Task<int> RunAsync(Func<Task<int>> work)
    {
        try
        {
            return await work().ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or VmmException)
        {
            throw new CliException(ExitCode.BadImage, e.Message);
        }
        catch (ArgumentException e)
        {
            throw new CliException(ExitCode.BadArguments, e.Message);
        }
        catch (OperationCanceledException)
        {
            return ExitCode.Interrupted;
        }
    }
}
