namespace Vmm.Backends.Whp.Tests;
public class PlaceholderTests { [Xunit.Fact] public void Runs() { } }
