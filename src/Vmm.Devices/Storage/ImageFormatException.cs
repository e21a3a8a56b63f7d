using Vmm.Core.Errors;

namespace Vmm.Devices.Storage;

/// <summary>A disk image is malformed, damaged, or of a kind that is not served.</summary>
/// <param name="image">The image's file.</param>
/// <param name="place">The field or table at fault, by its name in the format's specification.</param>
/// <param name="reason">What is wrong and what to do.</param>
/// <param name="inner">The cause, if another exception is.</param>
public sealed class ImageFormatException(string image, string place, string reason, Exception? inner = null) : VmmException($"{image}: {place}: {reason}", inner)
{
    /// <summary>The image's file.</summary>
    public string Image { get; } = image;

    /// <summary>The field or table at fault.</summary>
    public string Place { get; } = place;
}
