using System.Text;

namespace Vmm.Guests.Tests.Boots;

/// <summary>The root disk and the initramfs that starts it, as far as they go without a disk in the machine.</summary>
[Collection("boots")]
public class RootDiskTests
{
    [Fact]
    public void Image_OfDebian_IsSoundAndHasAnInit()
    {
        var image = RootDisk.Get();

        HostTool.Run("e2fsck", ["-f", "-n", image]);
        Assert.Contains("T0:2345:respawn:/sbin/agetty", Encoding.UTF8.GetString(HostTool.Run("debugfs", ["-R", "cat /etc/inittab", image])), StringComparison.Ordinal);
        Assert.Contains("Type: regular", Encoding.UTF8.GetString(HostTool.Run("debugfs", ["-R", "stat /sbin/init", image])), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/dev/vda; reboot")]
    [InlineData("")]
    public void Device_NotAPlainPath_IsRefused(string device)
    {
        Assert.ThrowsAny<ArgumentException>(() => LinuxDisk.CreateInitramfs("busybox", device));
    }
}
