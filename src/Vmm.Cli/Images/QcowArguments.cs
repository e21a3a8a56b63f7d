using System.CommandLine;
using Vmm.Cli.Commands;
using Vmm.Devices.Storage.Qcow2;

namespace Vmm.Cli.Images;

/// <summary>The options that say what a new qcow2 image is like.</summary>
internal sealed class QcowArguments
{
    private readonly Option<string?> _compat = new("--compat") { HelpName = "v2|v3", Description = "qcow2: the version. Default: v3." };
    private readonly Option<string?> _cluster = new("--cluster-size") { HelpName = "SIZE", Description = "qcow2: the cluster size, 512 to 2M. Default: 64K." };
    private readonly Option<string?> _compression = new("--compression") { HelpName = "zlib|zstd", Description = "qcow2: how clusters are compressed. Default: zlib." };
    private readonly Option<bool> _lazy = new("--lazy-refcounts") { Description = "qcow2: write reference counts late." };
    private readonly Option<bool> _extended = new("--extended-l2") { Description = "qcow2: allocate in 32nds of a cluster." };

    public void AddTo(Command command)
    {
        _compat.AcceptOnlyFromAmong("v2", "v3");
        _compression.AcceptOnlyFromAmong("zlib", "zstd");
        foreach (Option option in (Option[])[_compat, _cluster, _compression, _lazy, _extended]) command.Add(option);
    }

    public Qcow2CreateOptions Read(ParseResult parsed) => new()
    {
        Version = parsed.GetValue(_compat) == "v2" ? 2 : 3,
        ClusterSize = parsed.GetValue(_cluster) is { } text ? (int)(ClusterSize(text) ?? throw new CliException(ExitCode.BadArguments, $"--cluster-size {text}: give a size from 512 to 2M.")) : 1 << 16,
        Compression = parsed.GetValue(_compression) == "zstd" ? Qcow2Compression.Zstd : Qcow2Compression.Zlib,
        LazyRefcounts = parsed.GetValue(_lazy),
        ExtendedL2 = parsed.GetValue(_extended),
    };

    private static ulong? ClusterSize(string text) => text == "512" ? 512 : Units.Size(text) is <= 1 << 21 and var size ? size : null;
}
