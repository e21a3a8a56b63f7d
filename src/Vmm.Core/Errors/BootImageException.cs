namespace Vmm.Core.Errors;

/// <summary>A kernel, firmware or initramfs cannot be loaded.</summary>
/// <param name="image">Which file or image.</param>
/// <param name="place">The field or offset at fault.</param>
/// <param name="reason">What is wrong and what to do.</param>
public sealed class BootImageException(string image, string place, string reason) : VmmException($"{image}: {place}: {reason}")
{
    /// <summary>Which file or image.</summary>
    public string Image { get; } = image;

    /// <summary>The field or offset at fault.</summary>
    public string Place { get; } = place;
}
