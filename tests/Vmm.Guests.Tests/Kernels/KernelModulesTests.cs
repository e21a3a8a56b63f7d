using System.Text;
using Vmm.Guests.Kernels;
using Vmm.Guests.Tests.Cpio;

namespace Vmm.Guests.Tests.Kernels;

/// <summary>Order of modules, on a directory of modules made up here.</summary>
public class KernelModulesTests
{
    // A relocatable object with .modinfo: header, strings, names, section table.
    private static byte[] Module(params string[] info)
    {
        byte[] modinfo = Encoding.ASCII.GetBytes(string.Concat(info.Select(i => i + "\0"))), names = "\0.modinfo\0.shstrtab\0"u8.ToArray();
        using var file = new MemoryStream();
        using var w = new BinaryWriter(file);
        w.Write([0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        w.Write((ushort)1);
        w.Write((ushort)62);
        w.Write(1);
        w.Write(0L);
        w.Write(0L);
        w.Write(64L + modinfo.Length + names.Length);
        w.Write(0);
        foreach (ushort v in (ushort[])[64, 0, 0, 64, 3, 2]) w.Write(v);
        w.Write(modinfo);
        w.Write(names);
        w.Write(new byte[64]);
        Section(w, 1, 64, modinfo.Length);
        Section(w, 10, 64 + modinfo.Length, names.Length);
        return file.ToArray();
    }

    private static void Section(BinaryWriter w, int name, long at, long size)
    {
        w.Write(name);
        w.Write(1);
        w.Write(0L);
        w.Write(0L);
        w.Write(at);
        w.Write(size);
        w.Write(new byte[24]);
    }

    private static KernelModules Sample(Scratch scratch)
    {
        scratch.Write("6.1.0-x/kernel/a/top.ko", Module("license=GPL", "depends=mid-one,base", "name=top"));
        scratch.Write("6.1.0-x/kernel/b/mid_one.ko.xz", HostTool.Run("xz", ["-c", "--check=crc32", "--lzma2=dict=1MiB"], Module("depends=base,built", "softdep=pre: helper crypto-alias post: late")));
        scratch.Write("6.1.0-x/kernel/base.ko.gz", HostTool.Run("gzip", ["-c"], Module("depends=")));
        scratch.Write("6.1.0-x/kernel/helper.ko", Module("depends=base"));
        scratch.Write("6.1.0-x/kernel/loop1.ko", Module("depends=loop2"));
        scratch.Write("6.1.0-x/kernel/loop2.ko", Module("depends=loop1"));
        scratch.Write("6.1.0-x/kernel/orphan.ko", Module("depends=gone"));
        scratch.Write("6.1.0-x/kernel/noise.ko", [1, 2, 3]);
        scratch.Write("6.1.0-x/modules.builtin", "kernel/fs/built.ko\n"u8.ToArray());
        return KernelModules.Open(scratch.At("6.1.0-x"));
    }

    [Fact]
    public void Resolve_Dependencies_ComeFirstAndOnce()
    {
        using var scratch = new Scratch();
        var modules = Sample(scratch);
        Assert.Equal(["base", "helper", "mid_one", "top"], modules.Resolve("top", "base", "built", "mid-one").Select(m => m.Name));
        Assert.Equal("lib/modules/6.1.0-x/kernel/b/mid_one.ko", modules.Resolve("mid-one")[^1].GuestPath);
        Assert.Equal(2, modules.Resolve("loop1").Length);
    }

    [Fact]
    public void Initramfs_Modules_AreUnpackedAndListedInOrder()
    {
        using var scratch = new Scratch();
        var archive = KernelCpioReader.Read(Initramfs.Create().AddModules(Sample(scratch), "mid_one size=3 x=4").AddModules(Sample(scratch), "top", "base").Build());
        Assert.Equal(
            "/lib/modules/6.1.0-x/kernel/base.ko\n/lib/modules/6.1.0-x/kernel/helper.ko\n/lib/modules/6.1.0-x/kernel/b/mid_one.ko size=3 x=4\n/lib/modules/6.1.0-x/kernel/a/top.ko\n",
            archive.Single(e => e.Name == LinuxShell.ModuleListPath).Text);
        Assert.All(archive.Where(e => e.Name.EndsWith(".ko", StringComparison.Ordinal)), e => Assert.Equal((byte)'E', e.Content[1]));
    }

    [Theory]
    [InlineData("missing", "kernel module \"missing\"")]
    [InlineData("orphan", "needed by \"orphan")]
    [InlineData("noise", "not an x86-64 ELF object")]
    public void Resolve_WhatCannotBeLoaded_IsATypedError(string name, string said)
    {
        using var scratch = new Scratch();
        var modules = Sample(scratch);
        Assert.Contains(said, Assert.Throws<GuestImageException>(() => modules.Resolve(name)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Module_DamagedAnywhere_GivesATypedErrorOrAnOrder()
    {
        using var scratch = new Scratch();
        byte[] good = Module("depends=base", "name=top");
        var random = new Random(1);
        for (int i = 0; i < 3000; i++)
        {
            byte[] bad = [.. good];
            for (int n = random.Next(1, 4); n > 0; n--) bad[random.Next(bad.Length)] = (byte)random.Next(256);
            scratch.Write("r/m.ko", random.Next(4) == 0 ? bad[..random.Next(bad.Length)] : bad);
            try
            {
                Assert.Single(KernelModules.Open(scratch.At("r")).Resolve("m"));
            }
            catch (GuestImageException)
            {
            }
        }
    }

    [Fact]
    public void Open_NoDirectory_IsATypedError()
    {
        using var scratch = new Scratch();
        Assert.Throws<GuestImageException>(() => KernelModules.Open(scratch.At("none")));
        Assert.Throws<GuestImageException>(() => KernelModules.Open(new GuestKernel("k", GuestImageSource.Explicit)));
    }
}
