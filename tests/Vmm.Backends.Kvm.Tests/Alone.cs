namespace Vmm.Backends.Kvm.Tests;

/// <summary>Tests that look at what the whole process holds, and so run while no other does.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public class Alone;
