using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interpret;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// What a processor has besides its registers: its native memory and the tables there. A guest that did little leaves them to a later one, zero again,
/// as new pages take longer than all else that a short-lived machine needs. Few are kept.
/// </summary>
internal sealed class VcpuTables
{
    private static readonly VcpuTablesPool s_pool = new();

    /// <summary>New ones.</summary>
    public VcpuTables()
    {
        Windows = new Windows(Memory);
        Tlb = new Tlb(Memory, Spaces, Windows);
        Blocks = new BlockCache(Memory, ControlOps.Stale, Builder);
    }

    /// <summary>The native memory, with the state.</summary>
    public VcpuMemory Memory { get; } = new();

    /// <summary>Tags of address spaces.</summary>
    public AddressSpaces Spaces { get; } = new();

    /// <summary>The windows of hot code.</summary>
    public Windows Windows { get; }

    /// <summary>The software TLB.</summary>
    public Tlb Tlb { get; }

    /// <summary>Decoded code.</summary>
    public BlockCache Blocks { get; }

    /// <summary>What decodes it.</summary>
    public BlockBuilder Builder { get; } = new();

    /// <summary>Tables that hold nothing, for a processor of a model. Any thread.</summary>
    public static VcpuTables Take(CpuModel model)
    {
        var tables = s_pool.Take() ?? new VcpuTables();
        tables.Builder.Follow(model);
        return tables;
    }

    /// <summary>Their processor is gone: keeps them for another, or frees them. Any thread.</summary>
    /// <param name="translated">There was translated code, which uses all of them.</param>
    public void Leave(bool translated)
    {
        if (!translated && TryRecycle() && s_pool.TryKeep(this)) return;
        Blocks.Dispose();
        Memory.Dispose();
    }

    /// <summary>Makes all zero again, if it is little. False if not, and they are of no more use.</summary>
    public bool TryRecycle()
    {
        if (!Blocks.TryRecycle() || !Tlb.TryRecycle()) return false;
        Spaces.Restart();
        Memory.ClearState();
        return true;
    }
}
