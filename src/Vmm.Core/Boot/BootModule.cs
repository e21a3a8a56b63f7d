namespace Vmm.Core.Boot;

/// <summary>A file that a PVH or Multiboot kernel is handed beside itself.</summary>
/// <param name="Name">Its name: the first word of the string the kernel is given, and what it is called in messages.</param>
/// <param name="Data">Its bytes; not copied, so they must not change while the loader is in use.</param>
/// <param name="Arguments">What follows the name in the string the kernel is given; may be empty.</param>
public sealed record BootModule(string Name, ReadOnlyMemory<byte> Data, string Arguments = "")
{
    /// <summary>The string the kernel is given.</summary>
    internal string Text => Arguments.Length == 0 ? Name : $"{Name} {Arguments}";
}
