namespace Vmm.Guests.Tests;
public class PlaceholderTests { [Xunit.Fact] public void Runs() { } }
