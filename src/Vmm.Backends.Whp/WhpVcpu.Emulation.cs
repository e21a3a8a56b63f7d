using Vmm.Backends.Whp.Interop;
using Vmm.Core.Memory;

namespace Vmm.Backends.Whp;

/// <summary>What the platform's emulator asks for while it completes an instruction.</summary>
internal sealed partial class WhpVcpu : IEmulatedProcessor
{
    void IEmulatedProcessor.EmulatePort(ref WHV_EMULATOR_IO_ACCESS_INFO access)
    {
        if (access.Direction != 0)
        {
            Counters.PortWrites++;
            Bus.Ports.Write(access.Port, access.AccessSize, access.Data);
        }
        else
        {
            Counters.PortReads++;
            access.Data = (uint)Bus.Ports.Read(access.Port, access.AccessSize);
        }
    }

    void IEmulatedProcessor.EmulateMemory(ref WHV_EMULATOR_MEMORY_ACCESS_INFO access)
    {
        Span<byte> data = access.Data;
        data = data[..Math.Min((int)access.AccessSize, data.Length)];
        var write = access.Direction != 0;

        // The other operand of a move may be memory. What is written to ROM is dropped by the bus, which counts it.
        var region = Bus.Memory.Find(access.GpaAddress);
        if (region is not null && !(write && region.Kind == MemoryRegionKind.Rom) && (write ? Bus.Memory.TryWrite(access.GpaAddress, data) : Bus.Memory.TryRead(access.GpaAddress, data))) return;
        if (write)
        {
            Counters.MmioWrites++;
            Bus.WriteMmio(access.GpaAddress, data);
        }
        else
        {
            Counters.MmioReads++;
            Bus.ReadMmio(access.GpaAddress, data);
        }
    }

    int IEmulatedProcessor.GetRegisters(ReadOnlySpan<WHV_REGISTER_NAME> names, Span<WHV_REGISTER_VALUE> values) => _calls.TryGetRegisters(Index, names, values);

    int IEmulatedProcessor.SetRegisters(ReadOnlySpan<WHV_REGISTER_NAME> names, ReadOnlySpan<WHV_REGISTER_VALUE> values) => _calls.TrySetRegisters(Index, names, values);

    int IEmulatedProcessor.Translate(ulong gva, WHV_TRANSLATE_GVA_FLAGS flags, out WHV_TRANSLATE_GVA_RESULT_CODE code, out ulong gpa) => _calls.TranslateGva(Index, gva, flags, out code, out gpa);
}
