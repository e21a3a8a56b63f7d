using System.Runtime.Versioning;
using System.Text;
using FsCheck.Xunit;
using Vmm.Guests.Cpio;

namespace Vmm.Guests.Tests.Cpio;

/// <summary>What other people's cpio makes of our archives.</summary>
[UnsupportedOSPlatform("windows")]
public class CpioOracleTests
{
    private const UnixFileMode OwnerAll = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    [Fact]
    public async Task Archive_ListedByBusybox_HasOurNames()
    {
        string busybox = (await RealGuests.BusyboxAsync()).Path;
        Assert.Equal(Sample().Names, Lines(HostTool.Run(busybox, ["cpio", "-t"], Sample().Archive)));
    }

    [Fact]
    public void Archive_ListedByGnuCpio_HasOurNames() =>
        Assert.Equal(Sample().Names, Lines(HostTool.Run("cpio", ["-t", "--quiet"], Sample().Archive)));

    [Fact]
    public async Task Devices_ListedByBusybox_HaveTypeAndMode()
    {
        string busybox = (await RealGuests.BusyboxAsync()).Path;
        string[] lines = Lines(HostTool.Run(busybox, ["cpio", "-tv"], Sample().Archive));
        Assert.StartsWith("crw------- 0/0", lines[0][..14]);
        Assert.StartsWith("drwxr-xr-x", lines[1]);
        Assert.Contains(lines, l => l.EndsWith("etc/link -> file", StringComparison.Ordinal));
    }

    [Property(MaxTest = 60)]
    public void Trees_Random_ComeBackFromBusyboxAsTheyWere(int seed)
    {
        string busybox = RealGuests.BusyboxAsync().GetAwaiter().GetResult().Path;
        var random = new Random(seed);
        using var scratch = new Scratch();
        var files = new Dictionary<string, (byte[] Content, UnixFileMode Mode)>();
        var links = new Dictionary<string, string>();
        var directories = new Dictionary<string, UnixFileMode> { [""] = 0 };
        var memory = new MemoryStream();
        using (var writer = new CpioWriter(memory, DateTimeOffset.FromUnixTimeSeconds(random.Next())))
        {
            for (int i = random.Next(1, 30); i > 0; i--)
            {
                string parent = directories.Keys.ElementAt(random.Next(directories.Count));
                string name = (parent.Length == 0 ? "" : parent + "/") + RandomName(random, i);
                switch (random.Next(3))
                {
                    case 0:
                        directories[name] = OwnerAll | (UnixFileMode)random.Next(0x40);
                        writer.AddDirectory(name, directories[name]);
                        break;
                    case 1:
                        links[name] = RandomName(random, i) + "/target";
                        writer.AddSymlink(name, links[name]);
                        break;
                    default:
                        byte[] content = new byte[random.Next(random.Next(2) == 0 ? 9 : 10_000)];
                        random.NextBytes(content);
                        files[name] = (content, UnixFileMode.UserRead | (UnixFileMode)random.Next(0x200));
                        writer.AddFile(name, content, files[name].Mode);
                        break;
                }
            }
        }
        HostTool.Run(busybox, ["cpio", "-i", "-d"], memory.ToArray(), scratch.Path);

        foreach ((string name, (byte[] content, UnixFileMode mode)) in files)
        {
            Assert.Equal(content, File.ReadAllBytes(scratch.At(name)));
            Assert.Equal(mode, File.GetUnixFileMode(scratch.At(name)));
        }
        foreach ((string name, string target) in links)
            Assert.Equal(target, new FileInfo(scratch.At(name)).LinkTarget);
        foreach ((string name, UnixFileMode mode) in directories.Where(d => d.Key.Length > 0))
            Assert.Equal(mode, File.GetUnixFileMode(scratch.At(name)));
        string[] all = Directory.GetFileSystemEntries(scratch.Path, "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0 });
        Assert.Equal(files.Count + links.Count + directories.Count - 1, all.Length);
    }

    private static string RandomName(Random random, int unique)
    {
        const string letters = "abcXYZ019 ._-+~#$%&'\"\\()[]{}<>|;:!?*=,@^`\täöß☃漢\n";
        var name = new StringBuilder($"n{unique}");
        for (int i = random.Next(random.Next(3) == 0 ? 60 : 6); i > 0; i--)
            name.Append(letters[random.Next(letters.Length)]);
        return name.ToString();
    }

    private static (byte[] Archive, string[] Names) Sample()
    {
        var memory = new MemoryStream();
        using (var writer = new CpioWriter(memory))
        {
            writer.AddCharacterDevice("console", 5, 1);
            writer.AddFile("etc/file", "content"u8);
            writer.AddSymlink("etc/link", "file");
            writer.AddDirectory("var");
            writer.AddNamedPipe("var/pipe");
        }
        return (memory.ToArray(), ["console", "etc", "etc/file", "etc/link", "var", "var/pipe"]);
    }

    private static string[] Lines(byte[] output) => Encoding.UTF8.GetString(output).Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
