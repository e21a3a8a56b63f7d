using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

/// <summary>What the backend knows of the host before it calls the platform.</summary>
/// <param name="IsWindows">Whether this is Windows at all.</param>
/// <param name="IsX64">Whether processor and process are x86-64.</param>
/// <param name="IsHomeEdition">Whether it is a Home edition.</param>
/// <param name="Functions">The platform's functions; null where its libraries are missing.</param>
internal sealed record WhpHost(bool IsWindows, bool IsX64, bool IsHomeEdition, WhpFunctions? Functions)
{
    /// <summary>Looks at this host.</summary>
    public static WhpHost Detect()
    {
        var isX64 = RuntimeInformation.ProcessArchitecture == Architecture.X64 && RuntimeInformation.OSArchitecture == Architecture.X64;
        return OperatingSystem.IsWindows() ? new(true, isX64, Kernel32.IsHomeEdition(), WhpFunctions.Load()) : new(false, isX64, false, null);
    }
}
