// Linux Documentation/filesystems/ramfs-rootfs-initramfs.rst; busybox switch_root.
namespace Vmm.Guests;

/// <summary>
/// An initramfs that mounts a file system from a disk and hands over to its init, for distributions' disks whose drivers are modules: add them by
/// <see cref="Initramfs.AddModules"/> (virtio_blk with virtio_pci or virtio_mmio, and the file system's where it is not built in).
/// </summary>
public static class LinuxDisk
{
    /// <summary>What is said when the device does not appear or cannot be mounted; the guest powers off then.</summary>
    public const string FailureMarker = "vmm: no root file system";

    // Tenths of a second; a device's probe takes a few of them on a slow guest CPU.
    private const int Patience = 300;

    /// <summary>Builds it as far as it goes without modules.</summary>
    /// <param name="busyboxPath">A static busybox; see <see cref="GuestImages.FindBusyboxAsync"/>.</param>
    /// <param name="device">The disk or partition in the guest, such as /dev/vda1.</param>
    /// <param name="fileSystem">Its type, such as ext4.</param>
    /// <param name="init">The program to hand over to.</param>
    /// <returns>The builder.</returns>
    /// <exception cref="FileNotFoundException">There is no such busybox.</exception>
    /// <exception cref="ArgumentException">A value has characters other than letters, digits, and ".", "_", "-", "/", "+".</exception>
    public static Initramfs CreateInitramfs(string busyboxPath, string device = "/dev/vda", string fileSystem = "ext4", string init = "/sbin/init")
    {
        Check(device, nameof(device));
        Check(fileSystem, nameof(fileSystem));
        Check(init, nameof(init));
        return Initramfs.Create().AddBusybox(busyboxPath).AddDirectory("newroot").WithInit($$"""
            #!/bin/busybox sh
            b=/bin/busybox
            $b mount -t proc proc /proc
            $b mount -t sysfs sysfs /sys
            $b mount -t devtmpfs devtmpfs /dev
            {{LinuxShell.LoadModules}}
            i=0
            while [ ! -b {{device}} ] && [ $i -lt {{Patience}} ]; do $b sleep 0.1; i=$((i + 1)); done
            if $b mount -t {{fileSystem}} {{device}} /newroot; then
                for d in proc sys dev; do $b mount --move /$d /newroot/$d; done
                exec $b switch_root -c /dev/console /newroot {{init}}
            fi
            echo '{{FailureMarker}} on {{device}}'
            exec $b poweroff -f
            """);
    }

    private static void Check(string value, string parameter)
    {
        ArgumentException.ThrowIfNullOrEmpty(value, parameter);
        if (value.Any(c => !char.IsAsciiLetterOrDigit(c) && !"._-/+".Contains(c)))
            throw new ArgumentException($"\"{value}\" has characters a shell script would not take as they are.", parameter);
    }
}
