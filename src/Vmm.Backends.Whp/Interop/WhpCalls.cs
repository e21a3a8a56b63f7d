// winhvplatform.h and winhvemulation.h: the calls on one partition.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

/// <summary>The platform's calls on one partition, in terms of spans; a failure is an exception that says what mends it.</summary>
internal sealed unsafe class WhpCalls : IDisposable
{
    private readonly WhpFunctions _functions;
    private nint _partition;

    /// <summary>Makes a partition; its properties come before <see cref="Setup"/>.</summary>
    public WhpCalls(WhpFunctions functions)
    {
        _functions = functions;
        nint partition;
        // SAFETY: the out parameter is a local.
        WhpResult.Check(functions.WHvCreatePartition(&partition), nameof(functions.WHvCreatePartition));
        _partition = partition;
    }

    public void Setup() => WhpResult.Check(_functions.WHvSetupPartition(_partition), nameof(_functions.WHvSetupPartition));

    /// <summary>Sets a property from a value of the type that belongs to it.</summary>
    /// <returns>Whether the platform took it.</returns>
    public bool TrySetProperty<T>(WHV_PARTITION_PROPERTY_CODE code, ReadOnlySpan<T> value) where T : unmanaged
    {
        // SAFETY: pinned for the call, and the size is the span's.
        fixed (T* p = value) return _functions.WHvSetPartitionProperty(_partition, code, p, (uint)(value.Length * sizeof(T))) >= 0;
    }

    /// <summary>As <see cref="TrySetProperty"/>, for those that must work.</summary>
    public void SetProperty<T>(WHV_PARTITION_PROPERTY_CODE code, T value) where T : unmanaged =>
        WhpResult.Check(_functions.WHvSetPartitionProperty(_partition, code, &value, (uint)sizeof(T)), $"{nameof(_functions.WHvSetPartitionProperty)}({code})");

    /// <summary>A property of eight bytes, or zero.</summary>
    public ulong GetProperty(WHV_PARTITION_PROPERTY_CODE code)
    {
        ulong value = 0;
        uint written;
        // SAFETY: the platform writes at most the size it is given.
        return _functions.WHvGetPartitionProperty(_partition, code, &value, sizeof(ulong), &written) < 0 ? 0 : value;
    }

    /// <summary>Maps host memory; a range that is mapped is mapped anew.</summary>
    public void Map(nint host, ulong gpa, ulong size, WHV_MAP_GPA_RANGE_FLAGS flags) =>
        WhpResult.Check(_functions.WHvMapGpaRange(_partition, (void*)host, gpa, size, flags), nameof(_functions.WHvMapGpaRange));

    public void Unmap(ulong gpa, ulong size) => WhpResult.Check(_functions.WHvUnmapGpaRange(_partition, gpa, size), nameof(_functions.WHvUnmapGpaRange));

    /// <summary>Reads and clears the dirty bits of a range mapped with tracking.</summary>
    public void QueryDirty(ulong gpa, ulong size, Span<ulong> bitmap)
    {
        // SAFETY: pinned for the call, and the size is the span's.
        fixed (ulong* p = bitmap) WhpResult.Check(_functions.WHvQueryGpaRangeDirtyBitmap(_partition, gpa, size, p, (uint)(bitmap.Length * sizeof(ulong))), nameof(_functions.WHvQueryGpaRangeDirtyBitmap));
    }

    public void SuspendTime()
    {
        if (_functions.WHvSuspendPartitionTime != null) _ = _functions.WHvSuspendPartitionTime(_partition);
    }

    public void ResumeTime()
    {
        if (_functions.WHvResumePartitionTime != null) _ = _functions.WHvResumePartitionTime(_partition);
    }

    public void CreateProcessor(int index) => WhpResult.Check(_functions.WHvCreateVirtualProcessor(_partition, (uint)index, 0), nameof(_functions.WHvCreateVirtualProcessor));

    /// <summary>Runs a processor until the next exit.</summary>
    /// <param name="index">The processor.</param>
    /// <param name="context">One element of a pinned array.</param>
    public int Run(int index, WHV_RUN_VP_EXIT_CONTEXT[] context)
    {
        // SAFETY: the array is pinned for its life; the platform writes at most the size it is given.
        fixed (WHV_RUN_VP_EXIT_CONTEXT* p = context) return _functions.WHvRunVirtualProcessor(_partition, (uint)index, p, (uint)sizeof(WHV_RUN_VP_EXIT_CONTEXT));
    }

    /// <summary>Ends a run, or else the next one, at once. A failure is none: the processor may be about to go.</summary>
    public void Cancel(int index) => _ = _functions.WHvCancelRunVirtualProcessor(_partition, (uint)index, 0);

    public int TryGetRegisters(int index, ReadOnlySpan<WHV_REGISTER_NAME> names, Span<WHV_REGISTER_VALUE> values)
    {
        // SAFETY: both are pinned for the call and have one element for each name.
        fixed (WHV_REGISTER_NAME* n = names)
        fixed (WHV_REGISTER_VALUE* v = values)
        {
            return _functions.WHvGetVirtualProcessorRegisters(_partition, (uint)index, n, (uint)Math.Min(names.Length, values.Length), v);
        }
    }

    public int TrySetRegisters(int index, ReadOnlySpan<WHV_REGISTER_NAME> names, ReadOnlySpan<WHV_REGISTER_VALUE> values)
    {
        // SAFETY: both are pinned for the call and have one element for each name.
        fixed (WHV_REGISTER_NAME* n = names)
        fixed (WHV_REGISTER_VALUE* v = values)
        {
            return _functions.WHvSetVirtualProcessorRegisters(_partition, (uint)index, n, (uint)Math.Min(names.Length, values.Length), v);
        }
    }

    public void GetRegisters(int index, ReadOnlySpan<WHV_REGISTER_NAME> names, Span<WHV_REGISTER_VALUE> values) =>
        WhpResult.Check(TryGetRegisters(index, names, values), nameof(_functions.WHvGetVirtualProcessorRegisters));

    public void SetRegisters(int index, ReadOnlySpan<WHV_REGISTER_NAME> names, ReadOnlySpan<WHV_REGISTER_VALUE> values) =>
        WhpResult.Check(TrySetRegisters(index, names, values), nameof(_functions.WHvSetVirtualProcessorRegisters));

    /// <summary>The local APIC's registers as the xAPIC page has them.</summary>
    public void GetApic(int index, Span<byte> page)
    {
        uint written;
        // SAFETY: pinned for the call, and the size is the span's.
        fixed (byte* p = page) WhpResult.Check(_functions.WHvGetVirtualProcessorInterruptControllerState2(_partition, (uint)index, p, (uint)page.Length, &written), nameof(_functions.WHvGetVirtualProcessorInterruptControllerState2));
    }

    public void SetApic(int index, ReadOnlySpan<byte> page)
    {
        // SAFETY: pinned for the call, and the size is the span's.
        fixed (byte* p = page) WhpResult.Check(_functions.WHvSetVirtualProcessorInterruptControllerState2(_partition, (uint)index, p, (uint)page.Length), nameof(_functions.WHvSetVirtualProcessorInterruptControllerState2));
    }

    /// <summary>The XSAVE image.</summary>
    /// <returns>How many bytes it has.</returns>
    public int GetXsave(int index, Span<byte> image)
    {
        uint written = 0;
        // SAFETY: pinned for the call, and the size is the span's.
        fixed (byte* p = image) WhpResult.Check(_functions.WHvGetVirtualProcessorXsaveState(_partition, (uint)index, p, (uint)image.Length, &written), nameof(_functions.WHvGetVirtualProcessorXsaveState));
        return (int)written;
    }

    public void SetXsave(int index, ReadOnlySpan<byte> image)
    {
        // SAFETY: pinned for the call, and the size is the span's.
        fixed (byte* p = image) WhpResult.Check(_functions.WHvSetVirtualProcessorXsaveState(_partition, (uint)index, p, (uint)image.Length), nameof(_functions.WHvSetVirtualProcessorXsaveState));
    }

    /// <summary>Sends an interrupt to local APICs. False where the platform refuses it: a vector below 16, or nobody there.</summary>
    public bool RequestInterrupt(WHV_INTERRUPT_CONTROL interrupt) => _functions.WHvRequestInterrupt(_partition, &interrupt, (uint)sizeof(WHV_INTERRUPT_CONTROL)) >= 0;

    public int TranslateGva(int index, ulong gva, WHV_TRANSLATE_GVA_FLAGS flags, out WHV_TRANSLATE_GVA_RESULT_CODE code, out ulong gpa)
    {
        WHV_TRANSLATE_GVA_RESULT answer = default;
        ulong address = 0;
        // SAFETY: the out parameters are locals.
        var result = _functions.WHvTranslateGva(_partition, (uint)index, gva, flags, &answer, &address);
        (code, gpa) = (answer.ResultCode, address);
        return result;
    }

    /// <summary>Frees the partition with its processors and mappings. No processor may run.</summary>
    public void Dispose()
    {
        var partition = Interlocked.Exchange(ref _partition, 0);
        if (partition != 0) _ = _functions.WHvDeletePartition(partition);
    }
}
