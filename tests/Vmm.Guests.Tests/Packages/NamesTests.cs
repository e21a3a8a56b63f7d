using Vmm.Guests.Packages;

namespace Vmm.Guests.Tests.Packages;

public class NamesTests
{
    [Theory]
    [InlineData("vmlinuz-6.1.0-9-cloud-amd64", "vmlinuz-6.1.0-56-cloud-amd64")]
    [InlineData("vmlinuz-5.10", "vmlinuz-6.1")]
    [InlineData("a1", "a01b")]
    [InlineData("a", "a1")]
    [InlineData("", "a")]
    public void NaturalOrder_Versions_AreOrderedAsNumbers(string lower, string higher)
    {
        Assert.True(NaturalOrder.Instance.Compare(lower, higher) < 0);
        Assert.True(NaturalOrder.Instance.Compare(higher, lower) > 0);
        Assert.Equal(0, NaturalOrder.Instance.Compare(lower, lower));
    }

    [Theory]
    [InlineData("Package: x\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n", "linux-image-6.1.0-56-cloud-amd64")]
    [InlineData("Depends: kmod, other | linux-image-7:any [amd64]\n", "linux-image-7")]
    [InlineData("Description: linux-image-\nDepends: kmod\n", null)]
    [InlineData("Depends: linux-image-../../x\n", null)]
    [InlineData("Depends: linux-image-a;rm\n", null)]
    [InlineData("", null)]
    public void Metapackage_Shown_NamesWhatItStandsFor(string shown, string? name) =>
        Assert.Equal(name, AptPackages.DependencyOf(shown, "linux-image-"));

    [Theory]
    [InlineData("busybox-static", true)]
    [InlineData("libstdc++6:amd64", true)]
    [InlineData("-o", false)]
    [InlineData("a/b", false)]
    [InlineData("a=1\n", false)]
    public void PackageName_IsNeverAnOptionOrPath(string name, bool good) => Assert.Equal(good, AptPackages.IsPackageName(name));

    [Fact]
    public void Cache_Place_FollowsOptionThenEnvironment()
    {
        Assert.Equal("/opt/c", Locate(new() { CacheDirectory = "/opt/c" }, ("VMM_CACHE", "/env/c"), ("HOME", "/h")));
        Assert.Equal("/env/c", Locate(new(), ("VMM_CACHE", "/env/c"), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/h")));
        if (OperatingSystem.IsWindows())
            return;
        Assert.Equal("/xdg/vmm", Locate(new(), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/h")));
        Assert.Equal("/h/.cache/vmm", Locate(new(), ("XDG_CACHE_HOME", "relative"), ("HOME", "/h")));
        Assert.Null(Locate(new()));
    }

    private static string? Locate(GuestImageOptions options, params (string Name, string Value)[] environment) =>
        ImageCache.Locate(options, name => environment.FirstOrDefault(e => e.Name == name).Value);
}
