namespace Vmm.Backends.Whp.Interop;

/// <summary>Whose instruction the platform's emulator executes: what it asks for on the way.</summary>
internal interface IEmulatedProcessor
{
    void EmulatePort(ref WHV_EMULATOR_IO_ACCESS_INFO access);

    void EmulateMemory(ref WHV_EMULATOR_MEMORY_ACCESS_INFO access);

    int GetRegisters(ReadOnlySpan<WHV_REGISTER_NAME> names, Span<WHV_REGISTER_VALUE> values);

    int SetRegisters(ReadOnlySpan<WHV_REGISTER_NAME> names, ReadOnlySpan<WHV_REGISTER_VALUE> values);

    int Translate(ulong gva, WHV_TRANSLATE_GVA_FLAGS flags, out WHV_TRANSLATE_GVA_RESULT_CODE code, out ulong gpa);
}
