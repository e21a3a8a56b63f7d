// winhvemulation.h: the emulator, which completes instructions that access memory-mapped I/O, and string I/O.
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

/// <summary>The emulator of one processor. On that processor's thread only.</summary>
internal sealed unsafe class WhpEmulator : IDisposable
{
    private readonly WhpFunctions _functions;
    private readonly IEmulatedProcessor _processor;
    private GCHandle _self;
    private nint _emulator;
    private ExceptionDispatchInfo? _failure;

    public WhpEmulator(WhpFunctions functions, IEmulatedProcessor processor)
    {
        (_functions, _processor) = (functions, processor);
        WHV_EMULATOR_CALLBACKS callbacks = new()
        {
            Size = (uint)sizeof(WHV_EMULATOR_CALLBACKS),
            WHvEmulatorIoPortCallback = &OnPort,
            WHvEmulatorMemoryCallback = &OnMemory,
            WHvEmulatorGetVirtualProcessorRegisters = &OnGetRegisters,
            WHvEmulatorSetVirtualProcessorRegisters = &OnSetRegisters,
            WHvEmulatorTranslateGvaPage = &OnTranslate,
        };
        nint emulator;
        // SAFETY: the emulator copies the callbacks; the out parameter is a local.
        WhpResult.Check(functions.WHvEmulatorCreateEmulator(&callbacks, &emulator), nameof(functions.WHvEmulatorCreateEmulator));
        _emulator = emulator;
        _self = GCHandle.Alloc(this);
    }

    /// <summary>Completes the instruction of a port access. An exception of device code passes through; the instruction then is not completed.</summary>
    public uint CompletePort(in WHV_RUN_VP_EXIT_CONTEXT context)
    {
        WHV_EMULATOR_STATUS status = default;
        fixed (WHV_RUN_VP_EXIT_CONTEXT* p = &context)
        {
            // SAFETY: the context is pinned for the call.
            var result = _functions.WHvEmulatorTryIoEmulation(_emulator, GCHandle.ToIntPtr(_self), &p->VpContext, &p->IoPortAccess, &status);
            Rethrow();
            WhpResult.Check(result, nameof(_functions.WHvEmulatorTryIoEmulation));
        }

        return status.AsUINT32;
    }

    /// <summary>As <see cref="CompletePort"/>, of a memory access.</summary>
    public uint CompleteMemory(in WHV_RUN_VP_EXIT_CONTEXT context)
    {
        WHV_EMULATOR_STATUS status = default;
        fixed (WHV_RUN_VP_EXIT_CONTEXT* p = &context)
        {
            // SAFETY: the context is pinned for the call.
            var result = _functions.WHvEmulatorTryMmioEmulation(_emulator, GCHandle.ToIntPtr(_self), &p->VpContext, &p->MemoryAccess, &status);
            Rethrow();
            WhpResult.Check(result, nameof(_functions.WHvEmulatorTryMmioEmulation));
        }

        return status.AsUINT32;
    }

    public void Dispose()
    {
        var emulator = Interlocked.Exchange(ref _emulator, 0);
        if (emulator == 0) return;
        _ = _functions.WHvEmulatorDestroyEmulator(emulator);
        _self.Free();
    }

    private void Rethrow()
    {
        var failure = _failure;
        _failure = null;
        failure?.Throw();
    }

    // No exception may cross the emulator's frames: it is kept until the emulator has returned.
    private int Fail(Exception e)
    {
        _failure ??= ExceptionDispatchInfo.Capture(e);
        return WhpResult.E_FAIL;
    }

    private static WhpEmulator From(nint context) => (WhpEmulator)GCHandle.FromIntPtr(context).Target!;

    [UnmanagedCallersOnly]
    private static int OnPort(nint context, WHV_EMULATOR_IO_ACCESS_INFO* access)
    {
        var emulator = From(context);
        try
        {
            // SAFETY: the emulator passes its own structure.
            emulator._processor.EmulatePort(ref *access);
            return 0;
        }
        catch (Exception e)
        {
            return emulator.Fail(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int OnMemory(nint context, WHV_EMULATOR_MEMORY_ACCESS_INFO* access)
    {
        var emulator = From(context);
        try
        {
            // SAFETY: the emulator passes its own structure.
            emulator._processor.EmulateMemory(ref *access);
            return 0;
        }
        catch (Exception e)
        {
            return emulator.Fail(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int OnGetRegisters(nint context, WHV_REGISTER_NAME* names, uint count, WHV_REGISTER_VALUE* values)
    {
        var emulator = From(context);
        try
        {
            // SAFETY: the emulator passes arrays of so many elements.
            return emulator._processor.GetRegisters(new(names, (int)count), new(values, (int)count));
        }
        catch (Exception e)
        {
            return emulator.Fail(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int OnSetRegisters(nint context, WHV_REGISTER_NAME* names, uint count, WHV_REGISTER_VALUE* values)
    {
        var emulator = From(context);
        try
        {
            // SAFETY: the emulator passes arrays of so many elements.
            return emulator._processor.SetRegisters(new(names, (int)count), new(values, (int)count));
        }
        catch (Exception e)
        {
            return emulator.Fail(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int OnTranslate(nint context, ulong gva, WHV_TRANSLATE_GVA_FLAGS flags, WHV_TRANSLATE_GVA_RESULT_CODE* code, ulong* gpa)
    {
        var emulator = From(context);
        try
        {
            var result = emulator._processor.Translate(gva, flags, out var c, out var g);
            // SAFETY: the emulator passes its own variables.
            (*code, *gpa) = (c, g);
            return result;
        }
        catch (Exception e)
        {
            return emulator.Fail(e);
        }
    }
}
