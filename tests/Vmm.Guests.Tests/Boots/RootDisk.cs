using System.Text;

namespace Vmm.Guests.Tests.Boots;

/// <summary>A raw ext4 image of a small Debian with sysvinit and a login on ttyS0, made once by mmdebstrap and kept in the user's cache.</summary>
public static class RootDisk
{
    private const string Version = "1";
    private const long Size = 1L << 30;

    /// <summary>What the login prompt ends with; root has no password.</summary>
    public const string LoginPrompt = "vmmdisk login:";

    /// <summary>Path of the image; copy it, or put an overlay over it, before a guest writes. Skips where the tools or the rights for making it are missing.</summary>
    public static string Get()
    {
        var directory = Path.Combine(new GuestImages().CacheDirectory ?? Path.GetTempPath(), "rootdisk");
        var image = Path.Combine(directory, $"debian-minbase-{Version}.ext4");
        if (File.Exists(image)) return image;
        // It makes device nodes and files of other owners, and chroots into them.
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a root disk can only be made by root: run the tests once as root, or under fakechroot fakeroot");
        var suite = Encoding.UTF8.GetString(HostTool.Run("sh", ["-c", ". /etc/os-release; echo ${VERSION_CODENAME:-stable}"])).Trim();
        Directory.CreateDirectory(directory);
        var scratch = Path.Combine(directory, $"tmp-{Guid.NewGuid():n}");
        try
        {
            Directory.CreateDirectory(scratch);
            var (root, made) = (Path.Combine(scratch, "root"), Path.Combine(scratch, "image"));
            HostTool.Run("mmdebstrap", ["--variant=minbase", "--quiet", "--include=sysvinit-core,util-linux", .. Customize(), suite, root]);
            using (var file = File.Create(made)) file.SetLength(Size);
            HostTool.Run("mkfs.ext4", ["-q", "-F", "-d", root, "-L", "vmmroot", made]);
            File.Move(made, image, overwrite: true);
        }
        finally
        {
            HostTool.Run("rm", ["-rf", "--one-file-system", scratch]);
        }
        return image;
    }

    private static IEnumerable<string> Customize()
    {
        foreach (var line in (string[])
            [
                "echo vmmdisk >\"$1/etc/hostname\"",
                "echo 'LABEL=vmmroot / ext4 defaults 0 0' >\"$1/etc/fstab\"",
                "sed -i 's/^root:[^:]*:/root::/' \"$1/etc/shadow\"",
                "sed -i '/^[1-6]:.*getty/d' \"$1/etc/inittab\"",
                "echo 'T0:2345:respawn:/sbin/agetty -L ttyS0 115200 vt100' >>\"$1/etc/inittab\"",
                "rm -rf \"$1/usr/share/doc\" \"$1/usr/share/locale\" \"$1/usr/share/man\" \"$1/var/cache/apt\" \"$1/var/lib/apt/lists\"",
            ])
            yield return $"--customize-hook={line}";
    }
}
