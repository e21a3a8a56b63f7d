using Vmm.Devices.Virtio.Console;
using Vmm.Devices.Virtio.Pmem;
using Vmm.Devices.Virtio.Rng;
using Vmm.TestSupport.Virtio;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Each virtio device under the hostile driver: no exception, no hang, no byte outside guest memory, and a device that a reset mends.</summary>
public class HostileDriverTests
{
    [Fact]
    public void Echo_UnderAttack_Survives() => HostileDriver.Attack(() => new EchoDevice());

    [Fact]
    public void EchoThatHolds_UnderAttack_Survives() => HostileDriver.Attack(() => new EchoDevice(holds: true), settle: static device => device.ReleaseAll());

    [Fact]
    public void Rng_UnderAttack_Survives() => HostileDriver.Attack(() => new VirtioRng(static bytes => bytes.Fill(1)));

    [Fact]
    public void Console_UnderAttack_Survives() => HostileDriver.Attack(() => new VirtioConsole(new VirtioConsolePort("a", null, IsConsole: true), new VirtioConsolePort("b", null)));

    [Fact]
    public void Pmem_UnderAttack_Survives() => HostileDriver.Attack(() => new VirtioPmem(4UL << 30, 2 << 20, static () => { }));

    [Fact]
    public void Kit_ADeviceThatThrows_IsFoundWithAShortTrace()
    {
        var found = Assert.ThrowsAny<Exception>(() => HostileDriver.Attack(() => new ThrowingDevice(), sequences: 2000));
        Assert.Contains("Shrunk", found.ToString(), StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>A device with a mistake in it: it throws for a request without an answer's place.</summary>
    private sealed class ThrowingDevice() : Vmm.Devices.Virtio.VirtioDevice(0x3E, 1)
    {
        protected override void OnQueue(int index, Vmm.Devices.Virtio.Queues.Virtqueue queue)
        {
            while (queue.TryTake(out var chain))
            {
                if (chain.WritableLength == 0) throw new InvalidOperationException("No room for the answer.");
                queue.Complete(chain, 0);
            }
        }
    }
}
