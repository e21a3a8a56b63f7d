namespace Vmm.Backends.Software.Tests;
public class PlaceholderTests { [Xunit.Fact] public void Runs() { } }
