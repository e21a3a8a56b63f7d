global using Xunit;

// vCPU threads compete for the host's cores already, and a test that hangs is easier to name when it is alone.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
