namespace Vmm.TestSupport.Virtio;

/// <summary>A piece of a request as a driver offers it.</summary>
public readonly record struct Buffer(ulong Address, uint Length, bool Writable = false);
