using System.Collections.Concurrent;
using System.Security.Cryptography;
using Vmm.Guests.Tests.Kernels;
using Vmm.Guests.Tests.Packages;

namespace Vmm.Guests.Tests;

/// <summary>The search itself, with the host's apt replaced where a failure is wanted.</summary>
public class GuestImagesTests
{
    private static GuestImageOptions Bare(Scratch scratch) => new()
    {
        CacheDirectory = scratch.At("cache"),
        BootDirectory = scratch.At("boot"),
        HostModulesDirectory = scratch.At("modules"),
        HostBusyboxes = [scratch.At("busybox")],
        AptGet = "/nonexistent/apt-get",
        AptCache = "/nonexistent/apt-cache",
    };

    // apt-get as a shell script: its own arguments follow as $0, $1, ...
    private static GuestImageOptions Scripted(Scratch scratch, string script)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the tools are those of a Unix host");
        return Bare(scratch) with { AptGet = "/bin/sh", AptCache = "/bin/sh", AptArguments = ["-c", script] };
    }

    [Fact]
    public async Task Kernel_OnAHostWithoutApt_IsATypedErrorThatSaysWhatToDo()
    {
        using var scratch = new Scratch();
        var error = await Assert.ThrowsAsync<GuestImageException>(() => new GuestImages(Bare(scratch)).FindKernelAsync());
        Assert.Equal("Linux kernel", error.What);
        Assert.Contains($"there is no apt-get on this host: pass --kernel FILE, or copy a bzImage to {scratch.At("cache", "vmlinuz")}.", error.Message);
        Assert.Equal(
            [scratch.At("cache", "vmlinuz"), scratch.At("cache", "kernel"), scratch.At("boot", "vmlinuz-*"), "/nonexistent/apt-get"],
            error.Probes.Select(p => p.Place));
    }

    [Fact]
    public async Task Busybox_OnAHostWithoutApt_IsATypedErrorThatSaysWhatToDo()
    {
        using var scratch = new Scratch();
        var error = await Assert.ThrowsAsync<GuestImageException>(() => new GuestImages(Bare(scratch)).FindBusyboxAsync());
        Assert.Contains("--busybox FILE", error.Remedy);
        Assert.Contains(error.Probes, p => p.Place == scratch.At("busybox") && p.Reason == "there is no such file");
    }

    [Fact]
    public async Task Download_NotAllowed_RunsNothing()
    {
        using var scratch = new Scratch();
        var options = Scripted(scratch, $"touch {scratch.At("ran")}; exit 1") with { AllowDownload = false };
        var error = await Assert.ThrowsAsync<GuestImageException>(() => new GuestImages(options).FindKernelAsync());
        Assert.Contains("AllowDownload", error.Message);
        Assert.False(File.Exists(scratch.At("ran")));
    }

    [Fact]
    public async Task Apt_Failing_HasItsOwnWordsInTheError()
    {
        using var scratch = new Scratch();
        var error = await Assert.ThrowsAsync<GuestImageException>(() =>
            new GuestImages(Scripted(scratch, "echo 'E: Could not resolve host' >&2; exit 100")).FindBusyboxAsync());
        Assert.Contains("exit code 100: E: Could not resolve host", error.Message);
        Assert.Contains(error.Probes, p => p.Place.Contains(" update ", StringComparison.Ordinal));
        Assert.DoesNotContain("no apt-get", error.Remedy);
    }

    [Fact]
    public async Task Apt_Hanging_IsGivenUp()
    {
        using var scratch = new Scratch();
        var options = Scripted(scratch, "sleep 1000") with { Timeout = TimeSpan.FromSeconds(0.5) };
        var error = await Assert.ThrowsAsync<GuestImageException>(() => new GuestImages(options).FindBusyboxAsync());
        Assert.Contains("did not end within", error.Message);
    }

    [Fact]
    public async Task Apt_SucceedingWithoutAFile_IsAnError()
    {
        using var scratch = new Scratch();
        var error = await Assert.ThrowsAsync<GuestImageException>(() => new GuestImages(Scripted(scratch, "exit 0")).FindBusyboxAsync());
        Assert.Contains("left no package file", error.Message);
    }

    [Fact]
    public async Task Package_OfNonsense_IsRefusedAndNothingStays()
    {
        using var scratch = new Scratch();
        var options = Scripted(scratch, "case \"$*\" in *print-uris*|*update*) ;; *) echo nonsense >busybox-static_1_amd64.deb;; esac");
        foreach (string dpkg in (string[])["dpkg-deb", "/nonexistent/dpkg-deb"])
        {
            var error = await Assert.ThrowsAsync<GuestImageException>(() => new GuestImages(options with { DpkgDeb = dpkg }).FindBusyboxAsync());
            Assert.Equal("busybox-static 1", error.Probes[^1].Place);
            Assert.Empty(Directory.GetFileSystemEntries(scratch.At("cache", "tmp")));
        }
    }

    [Fact]
    public async Task Search_Cancelled_ThrowsAndLeavesNothing()
    {
        using var scratch = new Scratch();
        using var cancel = new CancellationTokenSource();
        var progress = new Recorder(p => { if (p.Stage == GuestProgressStage.Downloading) cancel.Cancel(); });
        var options = Scripted(scratch, "case \"$*\" in *print-uris*) ;; *) exec sleep 1000;; esac");
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new GuestImages(options).FindBusyboxAsync(null, progress, cancel.Token));
        Assert.Empty(Directory.GetFileSystemEntries(scratch.At("cache", "tmp")));
    }

    [Fact]
    public async Task Lock_HeldByAnother_IsWaitedForAndThenGivenUp()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch.At("cache"));
        using var held = new FileStream(scratch.At("cache", ".lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        var progress = new Recorder();
        var error = await Assert.ThrowsAsync<GuestImageException>(() =>
            new GuestImages(Bare(scratch) with { Timeout = TimeSpan.FromSeconds(0.5) }).FindBusyboxAsync(null, progress));
        Assert.Contains("another process has held", error.Message);
        Assert.Single(progress.Reports, p => p.Stage == GuestProgressStage.Waiting);
    }

    [Fact]
    public async Task Path_Explicit_IsUsedOrRefusedWithoutLookingElsewhere()
    {
        using var scratch = new Scratch();
        var images = new GuestImages(Bare(scratch));
        string good = scratch.Write("k", TestKernel.BzImage(new byte[100])), bad = scratch.Write("bad", new byte[5000]);
        Assert.Equal(new GuestKernel(good, GuestImageSource.Explicit), await images.FindKernelAsync(good));
        Assert.Equal(GuestImageSource.Explicit, (await images.FindKernelAsync(scratch.Write("elf", TestKernel.Elf()))).Source);
        var error = await Assert.ThrowsAsync<GuestImageException>(() => images.FindKernelAsync(bad));
        Assert.Contains("neither a bzImage nor an ELF", Assert.Single(error.Probes).Reason);
        error = await Assert.ThrowsAsync<GuestImageException>(() => images.FindKernelAsync(scratch.At("none")));
        Assert.Equal("there is no such file", Assert.Single(error.Probes).Reason);
        error = await Assert.ThrowsAsync<GuestImageException>(() => images.FindKernelAsync(scratch.Path));
        Assert.Single(error.Probes);
        await Assert.ThrowsAsync<GuestImageException>(() => images.FindBusyboxAsync(good));
    }

    [Fact]
    public async Task Busybox_Dynamic_IsPassedOver()
    {
        using var scratch = new Scratch();
        byte[] elf = TestKernel.Elf();
        string good = scratch.Write("static", elf);
        Assert.Equal(good, (await new GuestImages(Bare(scratch)).FindBusyboxAsync(good)).Path);
        elf[64] = 3;
        var error = await Assert.ThrowsAsync<GuestImageException>(() => new GuestImages(Bare(scratch)).FindBusyboxAsync(scratch.Write("dynamic", elf)));
        Assert.Contains("dynamically linked", error.Message);
    }

    [Fact]
    public async Task Kernel_OfTheHost_IsTheNewestReadableWithItsModules()
    {
        using var scratch = new Scratch();
        scratch.Write("boot/vmlinuz-6.1.0-9", TestKernel.BzImage(new byte[100]));
        scratch.Write("boot/vmlinuz-6.1.0-10", TestKernel.BzImage(new byte[100]));
        scratch.Write("boot/vmlinuz-6.1.0-11", new byte[100]);
        scratch.Write("modules/6.1.0-10/modules.dep", []);
        GuestKernel kernel = await new GuestImages(Bare(scratch)).FindKernelAsync();
        Assert.Equal((scratch.At("boot", "vmlinuz-6.1.0-10"), GuestImageSource.Host, scratch.At("modules", "6.1.0-10")), (kernel.Path, kernel.Source, kernel.ModulesDirectory));
    }

    [Fact]
    public async Task Kernel_PutIntoTheCacheByHand_IsTakenFirst()
    {
        using var scratch = new Scratch();
        scratch.Write("boot/vmlinuz-1", TestKernel.BzImage(new byte[100]));
        string byHand = scratch.Write("cache/vmlinuz", TestKernel.BzImage(new byte[100]));
        Assert.Equal(new GuestKernel(byHand, GuestImageSource.Cache), await new GuestImages(Bare(scratch)).FindKernelAsync());
    }

    [Fact]
    public async Task DebianKernel_Found_HasVersionAndVirtioModules()
    {
        GuestKernel kernel = await RealGuests.KernelAsync();
        TestContext.Current.SendDiagnosticMessage(kernel.ToString());
        Assert.NotNull(kernel.ModulesDirectory);
        Assert.NotEmpty(Directory.EnumerateFiles(kernel.ModulesDirectory, "virtio_blk.ko*", SearchOption.AllDirectories));
        if (kernel.Package is not null)
            Assert.StartsWith("linux-image-", kernel.Package);
        GuestKernel again = await new GuestImages().FindKernelAsync();
        Assert.Equal(kernel.Path, again.Path);
    }

    [Fact]
    public async Task Package_Fetched_ReportsProgressAndIsThenCached()
    {
        using var scratch = new Scratch();
        var progress = new Recorder();
        GuestBusybox busybox = await FetchAsync(scratch, progress: progress);
        Assert.Equal((GuestImageSource.Package, "busybox-static"), (busybox.Source, busybox.Package));
        Assert.Matches("^[0-9]+:?[0-9.]+", busybox.PackageVersion);
        Assert.Equal([GuestProgressStage.Probing, GuestProgressStage.Downloading, GuestProgressStage.Unpacking, GuestProgressStage.Ready], progress.Reports.Select(p => p.Stage).Distinct());
        GuestProgress last = progress.Reports.Last(p => p.Stage == GuestProgressStage.Downloading);
        Assert.True(last.Bytes > 500_000 && last.Bytes == last.TotalBytes, last.ToString());
        Assert.Equal(busybox with { Source = GuestImageSource.Cache }, await new GuestImages(Bare(scratch)).FindBusyboxAsync());
        Assert.Empty(Directory.GetFileSystemEntries(scratch.At("cache", "tmp")));
    }

    [Theory]
    [InlineData("a changed byte")]
    [InlineData("a cut file")]
    [InlineData("a lost file")]
    [InlineData("a cut record")]
    [InlineData("a lost record")]
    [InlineData("a record that points outside")]
    public async Task Cache_Damaged_IsNoticedAndMended(string damage)
    {
        using var scratch = new Scratch();
        GuestBusybox busybox = await new GuestImages(Served(scratch)).FindBusyboxAsync();
        byte[] good = File.ReadAllBytes(busybox.Path);
        string record = Path.Combine(Directory.GetDirectories(scratch.At("cache", "busybox")).Single(), "record.json");
        switch (damage)
        {
            case "a changed byte":
                byte[] changed = [.. good];
                changed[good.Length / 2] ^= 1;
                File.WriteAllBytes(busybox.Path, changed);
                break;
            case "a cut file":
                File.WriteAllBytes(busybox.Path, good[..1000]);
                break;
            case "a lost file":
                File.Delete(busybox.Path);
                break;
            case "a cut record":
                File.WriteAllText(record, File.ReadAllText(record)[..40]);
                break;
            case "a lost record":
                File.Delete(record);
                break;
            default:
                File.WriteAllText(record, File.ReadAllText(record).Replace("bin/busybox", "../../../busybox", StringComparison.Ordinal));
                break;
        }
        var error = await Assert.ThrowsAsync<GuestImageException>(() => new GuestImages(Bare(scratch)).FindBusyboxAsync());
        Assert.Contains(error.Probes, p => p.Place == Path.GetDirectoryName(record));
        GuestBusybox mended = await new GuestImages(Served(scratch)).FindBusyboxAsync();
        Assert.Equal(GuestImageSource.Package, mended.Source);
        Assert.Equal(good, File.ReadAllBytes(mended.Path));
        Assert.Equal(GuestImageSource.Cache, (await new GuestImages(Bare(scratch)).FindBusyboxAsync()).Source);
    }

    [Fact]
    public async Task Searches_AtTheSameTime_FetchOnce()
    {
        using var scratch = new Scratch();
        GuestBusybox[] found = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(() => new GuestImages(Served(scratch)).FindBusyboxAsync())));
        Assert.Single(found, f => f.Source == GuestImageSource.Package);
        Assert.Single(found.Select(f => f.Path).Distinct());
        Assert.Single(Directory.GetDirectories(scratch.At("cache", "busybox")));
        Assert.Equal("fetched\n", File.ReadAllText(scratch.At("log")));
    }

    [Fact]
    public async Task Package_UnpackedWithoutDpkg_IsTheSame()
    {
        using var one = new Scratch();
        using var two = new Scratch();
        GuestBusybox byDpkg = await FetchAsync(one), byUs = await FetchAsync(two, o => o with { DpkgDeb = "/nonexistent/dpkg-deb" });
        Assert.Equal(Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(byDpkg.Path))), Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(byUs.Path))));
        if (!OperatingSystem.IsWindows())
            Assert.Equal(File.GetUnixFileMode(byDpkg.Path), File.GetUnixFileMode(byUs.Path));
    }

    [Fact]
    public async Task Apt_WithoutLists_GetsListsOfItsOwnInTheCache()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch.At("nolists", "partial"));
        var progress = new Recorder();
        GuestBusybox busybox = await FetchAsync(scratch, o => o with { AptArguments = ["-o", $"Dir::State::lists={scratch.At("nolists")}"] }, progress);
        Assert.Equal(GuestImageSource.Package, busybox.Source);
        Assert.Contains(progress.Reports, p => p.Stage == GuestProgressStage.Updating);
        Assert.NotEmpty(Directory.GetFiles(scratch.At("cache", "apt", "lists")));
    }

    // An apt whose archive is one small package made here.
    private static GuestImageOptions Served(Scratch scratch)
    {
        string deb = scratch.At("served.deb");
        lock (typeof(GuestImagesTests))
        {
            if (!File.Exists(deb))
                scratch.Write("served.deb", TestPackage.Deb("data.tar.gz", ("./bin/busybox", TestKernel.Elf())));
        }
        return Scripted(scratch, $"case \"$*\" in *print-uris*) ;; *) echo fetched >>{scratch.At("log")}; cp {deb} busybox-static_1%3a2_amd64.deb;; esac")
            with { DpkgDeb = "/nonexistent/dpkg-deb" };
    }

    private static async Task<GuestBusybox> FetchAsync(Scratch scratch, Func<GuestImageOptions, GuestImageOptions>? change = null, IProgress<GuestProgress>? progress = null)
    {
        await RealGuests.BusyboxAsync();
        GuestImageOptions options = Bare(scratch) with { AptGet = "apt-get", AptCache = "apt-cache" };
        return await new GuestImages(change?.Invoke(options) ?? options).FindBusyboxAsync(null, progress);
    }

    private sealed class Recorder(Action<GuestProgress>? seen = null) : IProgress<GuestProgress>
    {
        public ConcurrentQueue<GuestProgress> Reports { get; } = new();

        public void Report(GuestProgress value)
        {
            Reports.Enqueue(value);
            seen?.Invoke(value);
        }
    }
}
