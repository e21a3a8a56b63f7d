using Vmm.Guests.Packages;

namespace Vmm.Guests.Tests;

/// <summary>The real kernel and busybox, found or fetched once for the whole run, into the user's own cache.</summary>
public static class RealGuests
{
    private static readonly Lazy<Task<GuestKernel>> FoundKernel = new(() => new GuestImages().FindKernelAsync());
    private static readonly Lazy<Task<GuestBusybox>> FoundBusybox = new(() => new GuestImages().FindBusyboxAsync());

    public static Task<GuestKernel> KernelAsync() => GetAsync(FoundKernel);

    public static Task<GuestBusybox> BusyboxAsync() => GetAsync(FoundBusybox);

    /// <summary>Debian packages with the libraries they need.</summary>
    public static Task<GuestPackages> PackagesAsync(params string[] names) => GetAsync(new Lazy<Task<GuestPackages>>(() => new GuestImages().FindPackagesAsync(names)));

    private static async Task<T> GetAsync<T>(Lazy<Task<T>> image)
    {
        try
        {
            return await image.Value;
        }
        catch (GuestImageException e) when (!IsRequired)
        {
            Assert.Skip(e.Message);
            throw;
        }
    }

    // On the project's own machines a guest that cannot be had is a failure, not a skip.
    private static bool IsRequired => Environment.GetEnvironmentVariable("CI") is "true" or "1"
        || (Environment.GetEnvironmentVariable("VMM_REQUIRE") ?? "").Split(',').Contains("guests");
}
