namespace Vmm.Devices.Tests;
public class PlaceholderTests { [Xunit.Fact] public void Runs() { } }
