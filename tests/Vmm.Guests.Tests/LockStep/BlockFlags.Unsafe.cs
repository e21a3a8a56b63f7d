using System.Runtime.CompilerServices;
using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.TestSupport.Oracle;

namespace Vmm.Guests.Tests.LockStep;

/// <summary>Which arithmetic flags the architecture leaves undefined behind the block that a processor has run last.</summary>
internal static unsafe class BlockFlags
{
    /// <param name="cpu">The processor.</param>
    /// <param name="before">Flags that may have been undefined before that block.</param>
    public static ulong UndefinedAtEnd(Vcpu cpu, ulong before)
    {
        var block = Current(cpu);
        if (block == null) return 0;
        var code = new byte[block->Bytes];
        if (!cpu.Partition.Memory.TryRead(block->Physical, code)) return 0;
        var bitness = (block->Mode & CpuMode.CodeMask) == CpuMode.Code64 ? 64 : (block->Mode & CpuMode.CodeMask) == CpuMode.Code32 ? 32 : 16;
        var decoder = Decoder.Create(bitness, code);
        var undefined = before;
        for (var i = 0; i < block->Count; i++)
        {
            decoder.Decode(out var instruction);
            undefined = UndefinedFlags.After(instruction, undefined);
        }

        return undefined;
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_current")]
    private static extern ref Block* Current(Vcpu cpu);
}
