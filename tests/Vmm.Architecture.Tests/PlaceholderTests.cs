namespace Vmm.Architecture.Tests;
public class PlaceholderTests { [Xunit.Fact] public void Runs() { } }
