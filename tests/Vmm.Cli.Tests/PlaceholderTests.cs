namespace Vmm.Cli.Tests;
public class PlaceholderTests { [Xunit.Fact] public void Runs() { } }
