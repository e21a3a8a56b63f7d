using System.Buffers.Binary;
using System.Numerics;
using Vmm.Backends.Software.Cpu;
using Vmm.Core.Buses;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Interrupts;

/// <summary>
/// The local APIC of one processor (Intel SDM vol. 3, chapter 11): xAPIC and x2APIC, timer, IPIs. Its registers belong to its
/// processor's thread; what other threads send (interrupts) goes through the request bits, which are atomic.
/// </summary>
internal sealed class LocalApic : IDisposable
{
    private const uint Id = 0x20, Version = 0x30, TaskPriority = 0x80, Arbitration = 0x90, ProcessorPriority = 0xA0, Eoi = 0xB0, LogicalId = 0xD0,
        DestinationFormat = 0xE0, Spurious = 0xF0, InService = 0x100, TriggerMode = 0x180, Request = 0x200, ErrorStatus = 0x280, LvtCmci = 0x2F0,
        CommandLow = 0x300, CommandHigh = 0x310, LvtTimer = 0x320, LvtThermal = 0x330, LvtPerformance = 0x340, Lint0 = 0x350, Lint1 = 0x360, LvtError = 0x370,
        InitialCount = 0x380, CurrentCount = 0x390, Divide = 0x3E0, SelfIpi = 0x3F0;

    private const uint Masked = 1 << 16, SoftwareEnable = 0x100, NoEoiBroadcast = 1 << 12;
    private const ulong GlobalEnable = 0x800, X2Enable = 0x400, Bootstrap = 0x100;
    private const uint SendIllegalVector = 0x20, ReceiveIllegalVector = 0x40, IllegalRegister = 0x80;

    /// <summary>The APIC timer's input clock is the TSC's, as CPUID 15H says; the divider comes on top.</summary>
    private const long NanosecondsPerTick = 1_000_000_000 / VmClock.TscFrequency;

    private readonly Vcpu _cpu;
    private readonly VmTimer _timer;
    private readonly uint[] _registers = new uint[64];
    private readonly uint[] _requested = new uint[8];
    private ulong _base;
    private long _timerStart;
    private ulong _tscDeadline;
    private uint _errors;

    /// <summary>Makes one that has to be loaded.</summary>
    public LocalApic(Vcpu cpu)
    {
        _cpu = cpu;
        _timer = cpu.Partition.Clock.CreateTimer(this, OnTimer);
    }

    /// <summary>IA32_APIC_BASE.</summary>
    public ulong Base { get => _base; set => _base = value; }

    /// <summary>The task priority: CR8 is its bits 7:4.</summary>
    public ulong Tpr { get => Register(TaskPriority); set => Register(TaskPriority) = (uint)value & 0xFF; }

    private bool Enabled => (_base & GlobalEnable) != 0 && (Register(Spurious) & SoftwareEnable) != 0;

    private bool X2 => (_base & (GlobalEnable | X2Enable)) == (GlobalEnable | X2Enable);

    /// <summary>Whether any interrupt has been requested and not taken.</summary>
    public bool HasPending
    {
        get
        {
            foreach (ref var word in _requested.AsSpan())
            {
                if (Volatile.Read(ref word) != 0) return true;
            }

            return false;
        }
    }

    /// <summary>Whether an 8259 interrupt gets through: LINT0 unmasked in ExtINT mode, or the APIC is off.</summary>
    public bool AcceptsExternal => (_base & GlobalEnable) == 0 ? _cpu.Index == 0 : (Register(Lint0) & (Masked | 0x700)) == 0x700;

    /// <summary>The IA32_TSC_DEADLINE register.</summary>
    public ulong TscDeadline
    {
        get => TimerMode == 2 ? _tscDeadline : 0;
        set
        {
            lock (this)
            {
                if (TimerMode != 2) return;
                _tscDeadline = value;
                ArmDeadline();
            }
        }
    }

    private uint TimerMode => (Register(LvtTimer) >> 17) & 3;

    /// <summary>Whether a guest-physical address is this APIC's page.</summary>
    public bool Claims(ulong gpa) => (gpa & ~0xFFFUL) == (_base & ~0xFFFUL) && (_base & (GlobalEnable | X2Enable)) == GlobalEnable;

    /// <summary>Whether a message for a destination is for this APIC.</summary>
    public bool Matches(uint destination, bool logical, bool fromX2)
    {
        if ((_base & GlobalEnable) == 0) return false;
        var id = (uint)_cpu.Index;
        if (X2)
        {
            if (destination == uint.MaxValue || (!fromX2 && destination == 0xFF)) return true;
            if (!logical) return destination == id;
            var ldr = ((id >> 4) << 16) | (1u << (int)(id & 15));
            return fromX2 ? ldr >> 16 == destination >> 16 && (ldr & destination & 0xFFFF) != 0 : id < 8 && (destination & (1u << (int)id)) != 0;
        }

        if ((destination & 0xFF) == 0xFF) return true;
        if (!logical) return destination == Register(Id) >> 24;
        var mine = Register(LogicalId) >> 24;
        if (Register(DestinationFormat) >> 28 == 0xF) return (mine & destination) != 0;
        return mine >> 4 == destination >> 4 && (mine & destination & 15) != 0;
    }

    /// <summary>The priority by which lowest-priority delivery chooses.</summary>
    public uint Priority => Math.Max(Register(TaskPriority) & 0xF0, (uint)Math.Max(Highest(InService), 0) & 0xF0);

    /// <summary>Accepts an interrupt. Any thread.</summary>
    /// <param name="mode">Delivery mode 0 to 7.</param>
    /// <param name="vector">Vector.</param>
    /// <param name="level">Level-triggered.</param>
    public void Accept(uint mode, byte vector, bool level)
    {
        switch (mode)
        {
            case 0 or 1:
                if (!Enabled) return;
                if (vector < 16)
                {
                    Interlocked.Or(ref _errors, ReceiveIllegalVector);
                    return;
                }

                if (level) Interlocked.Or(ref Register(TriggerMode + (vector / 32u * 16)), 1u << (vector & 31));
                else Interlocked.And(ref Register(TriggerMode + (vector / 32u * 16)), ~(1u << (vector & 31)));
                Interlocked.Or(ref _requested[vector >> 5], 1u << (vector & 31));
                _cpu.RequestInterrupt();
                break;
            case 4:
                _cpu.InjectNmi();
                break;
            case 5:
                _cpu.RequestInit();
                break;
            case 6:
                _cpu.RequestStartup(vector);
                break;
            case 7:
                _cpu.SetExternalInterrupt(true);
                break;
        }
    }

    /// <summary>Takes the highest pending interrupt above the processor's priority into service, or -1.</summary>
    public int TakeInterrupt()
    {
        if (!Enabled) return -1;
        var vector = HighestRequested();
        if (vector < 0) return -1;
        if ((vector & 0xF0) <= (int)ProcessorPriorityValue()) return -1;
        Interlocked.And(ref _requested[vector >> 5], ~(1u << (vector & 31)));
        Register(InService + (uint)(vector / 32 * 16)) |= 1u << (vector & 31);
        return vector;
    }

    /// <summary>MOV to IA32_APIC_BASE. False: #GP.</summary>
    public bool TrySetBase(ulong value)
    {
        var reserved = ~((1UL << _cpu.PhysicalBits) - 1) | 0x2FF;
        if ((value & reserved) != 0) return false;
        var from = (_base >> 10) & 3;
        var to = (value >> 10) & 3;
        // Not allowed: x2APIC without enable, xAPIC from x2APIC, and x2APIC from off.
        if (to == 1 || (from == 3 && to == 2) || (from == 0 && to == 3)) return false;
        if (to == 3 && !_cpu.Model.Has(CpuFeature.X2Apic)) return false;
        _base = value;
        if (to == 0) Reset();
        if (to == 3) Register(Id) = (uint)_cpu.Index;
        if (to == 2 && from == 0) Register(Id) = (uint)_cpu.Index << 24;
        _cpu.FlushTranslations(true);
        return true;
    }

    /// <summary>RDMSR of 800H to 8FFH.</summary>
    public bool TryReadMsr(uint index, out ulong value)
    {
        value = 0;
        if (!X2) return false;
        var offset = (index & 0xFF) << 4;
        if (offset == CommandLow)
        {
            value = Register(CommandLow) | (ulong)Register(CommandHigh) << 32;
            return true;
        }

        if (offset is Eoi or SelfIpi or CommandHigh or DestinationFormat or Arbitration || !Exists(offset)) return false;
        value = offset == LogicalId ? ((uint)_cpu.Index >> 4 << 16) | 1u << (_cpu.Index & 15) : Read(offset);
        return true;
    }

    /// <summary>WRMSR of 800H to 8FFH.</summary>
    public bool TryWriteMsr(uint index, ulong value)
    {
        if (!X2) return false;
        var offset = (index & 0xFF) << 4;
        if (offset == CommandLow)
        {
            if ((value & 0xFFF3_2000) != 0) return false;
            Register(CommandHigh) = (uint)(value >> 32);
            Register(CommandLow) = (uint)value;
            SendCommand((uint)(value >> 32), true);
            return true;
        }

        if (value >> 32 != 0) return false;
        switch (offset)
        {
            case SelfIpi:
                if (value > 0xFF) return false;
                Accept(0, (byte)value, false);
                return true;
            case Eoi or ErrorStatus when value != 0:
            case Id or Version or ProcessorPriority or LogicalId or CurrentCount or DestinationFormat or CommandHigh or Arbitration:
            case >= InService and < ErrorStatus:
                return false;
            case TaskPriority when value > 0xFF: return false;
        }

        if (!Exists(offset)) return false;
        Write(offset, (uint)value);
        return true;
    }

    /// <summary>A guest read of the APIC page.</summary>
    public void ReadPage(uint offset, Span<byte> data)
    {
        for (var i = 0; i < data.Length; i++)
        {
            var at = offset + (uint)i;
            var within = at & 15;
            var register = at & 0xFF0;
            data[i] = within < 4 ? (byte)(Read(register) >> (int)(within * 8)) : (byte)0;
        }
    }

    /// <summary>A guest write of the APIC page: 32 bits at a register's address; others are dropped.</summary>
    public void WritePage(uint offset, ReadOnlySpan<byte> data)
    {
        if ((offset & 15) != 0 || data.Length < 4) return;
        Write(offset & 0xFF0, BinaryPrimitives.ReadUInt32LittleEndian(data));
    }

    /// <summary>Writes the registers into a 1 KiB page image.</summary>
    public void Save(Span<byte> page)
    {
        // Not while the timer fires.
        lock (this)
        {
            for (uint offset = 0; offset < 0x400; offset += 16) BinaryPrimitives.WriteUInt32LittleEndian(page[(int)offset..], SavedValue(offset));
        }
    }

    private uint SavedValue(uint offset) =>
        offset is >= Request and < ErrorStatus ? _requested[(offset - Request) / 16] : offset == CurrentCount ? CurrentCountValue() : offset == ErrorStatus ? _errors : Register(offset);

    /// <summary>Sets the registers from a 1 KiB page image; an empty one is a reset.</summary>
    public void Load(ReadOnlySpan<byte> page)
    {
        if (BinaryPrimitives.ReadUInt32LittleEndian(page[(int)Version..]) == 0)
        {
            Reset();
            return;
        }

        for (uint offset = 0; offset < 0x400; offset += 16)
        {
            var value = BinaryPrimitives.ReadUInt32LittleEndian(page[(int)offset..]);
            if (offset is >= Request and < ErrorStatus) _requested[(offset - Request) / 16] = value;
            else Register(offset) = value;
        }

        Register(Version) = VersionValue;
        _errors = 0;
        var remaining = Register(CurrentCount);
        Register(CurrentCount) = 0;
        if (TimerMode == 2) ArmDeadline();
        else if (remaining != 0) StartCount(Register(InitialCount) - remaining);
        else _timer.Disarm();
    }

    /// <summary>The TSC was moved: a deadline is at another time now.</summary>
    public void TscChanged()
    {
        lock (this)
        {
            if (TimerMode == 2) ArmDeadline();
        }
    }

    /// <summary>INIT or power-on.</summary>
    public void Reset()
    {
        Array.Clear(_registers);
        Array.Clear(_requested);
        Register(Id) = X2 ? (uint)_cpu.Index : (uint)_cpu.Index << 24;
        Register(Version) = VersionValue;
        Register(DestinationFormat) = uint.MaxValue;
        Register(Spurious) = 0xFF;
        foreach (var lvt in (ReadOnlySpan<uint>)[LvtCmci, LvtTimer, LvtThermal, LvtPerformance, Lint0, Lint1, LvtError]) Register(lvt) = Masked;
        (_tscDeadline, _errors) = (0, 0);
        // What a BIOS leaves behind: the bootstrap processor's LINT0 takes the 8259, until software says otherwise.
        if (_cpu.Index == 0) Register(Lint0) = 0x700;
        _timer.Disarm();
    }

    public void Dispose() => _timer.Disarm();

    private const uint VersionValue = 0x01060014 | 1 << 24;

    private ref uint Register(uint offset) => ref _registers[(offset & 0x3FF) >> 4];

    private static bool Exists(uint offset) => offset switch
    {
        Id or Version or TaskPriority or ProcessorPriority or Eoi or LogicalId or DestinationFormat or Spurious or Arbitration => true,
        >= InService and <= ErrorStatus => true,
        LvtCmci or CommandLow or CommandHigh => true,
        >= LvtTimer and <= CurrentCount => true,
        Divide => true,
        _ => false,
    };

    private uint Read(uint offset)
    {
        switch (offset)
        {
            case ProcessorPriority: return ProcessorPriorityValue();
            case CurrentCount: return CurrentCountValue();
            case >= Request and < ErrorStatus: return Volatile.Read(ref _requested[(offset - Request) / 16]);
            case Eoi: return 0;
        }

        if (Exists(offset)) return Register(offset);
        Interlocked.Or(ref _errors, IllegalRegister);
        return 0;
    }

    // The timer's callback runs under the same lock, on the clock's thread.
    private void Write(uint offset, uint value)
    {
        lock (this) WriteLocked(offset, value);
    }

    private void WriteLocked(uint offset, uint value)
    {
        switch (offset)
        {
            case Id: if (!X2) Register(Id) = value & 0xFF000000; break;
            case TaskPriority:
                Register(TaskPriority) = value & 0xFF;
                _cpu.InterruptsChanged();
                break;
            case Eoi: EndOfInterrupt(); break;
            case LogicalId: Register(LogicalId) = value & 0xFF000000; break;
            case DestinationFormat: Register(DestinationFormat) = value | 0x0FFFFFFF; break;
            case Spurious:
                Register(Spurious) = value & 0x13FF;
                if ((value & SoftwareEnable) == 0)
                {
                    foreach (var lvt in (ReadOnlySpan<uint>)[LvtCmci, LvtTimer, LvtThermal, LvtPerformance, Lint0, Lint1, LvtError]) Register(lvt) |= Masked;
                }

                _cpu.InterruptsChanged();
                break;
            case ErrorStatus: Register(ErrorStatus) = Interlocked.Exchange(ref _errors, 0); break;
            case CommandLow:
                Register(CommandLow) = value & 0xCCFFF;
                SendCommand(Register(CommandHigh) >> 24, false);
                break;
            case CommandHigh: Register(CommandHigh) = value & 0xFF000000; break;
            case LvtTimer: SetTimerMode(value); break;
            case LvtCmci or LvtThermal or LvtPerformance or Lint0 or Lint1 or LvtError:
                Register(offset) = (value & 0x1A7FF) | ((Register(Spurious) & SoftwareEnable) == 0 ? Masked : 0);
                _cpu.InterruptsChanged();
                break;
            case InitialCount:
                if (TimerMode == 2) break;
                Register(InitialCount) = value;
                StartCount(0);
                break;
            case Divide:
                var used = Register(InitialCount) - CurrentCountValue();
                Register(Divide) = value & 0xB;
                if (TimerMode != 2 && Register(InitialCount) != 0) StartCount(used);
                break;
            case Version or ProcessorPriority or CurrentCount or Arbitration: break;
            case >= InService and < ErrorStatus: break;
            default: Interlocked.Or(ref _errors, IllegalRegister); break;
        }
    }

    private void EndOfInterrupt()
    {
        var vector = Highest(InService);
        if (vector < 0) return;
        var bit = 1u << (vector & 31);
        var word = (uint)(vector / 32 * 16);
        Register(InService + word) &= ~bit;
        if ((Volatile.Read(ref Register(TriggerMode + word)) & bit) != 0 && (Register(Spurious) & NoEoiBroadcast) == 0) _cpu.Bus.EndOfInterrupt((byte)vector);
        _cpu.InterruptsChanged();
    }

    private void SendCommand(uint destination, bool x2)
    {
        var command = Register(CommandLow);
        var mode = (command >> 8) & 7;
        var vector = (byte)command;
        // A deassert of INIT does nothing on processors since the Pentium 4.
        if (mode == 5 && (command & 0xC000) == 0x8000) return;
        if (mode is 0 or 1 && vector < 16) Interlocked.Or(ref _errors, SendIllegalVector);
        var logical = (command & 0x800) != 0;
        switch ((command >> 18) & 3)
        {
            case 0: _cpu.Partition.Send(destination, logical, x2, mode, vector, false, null); break;
            case 1: Accept(mode, vector, false); break;
            case 2: _cpu.Partition.Send(uint.MaxValue, false, true, mode, vector, false, null); break;
            default: _cpu.Partition.Send(uint.MaxValue, false, true, mode, vector, false, _cpu); break;
        }
    }

    private void SetTimerMode(uint value)
    {
        var before = TimerMode;
        value &= 0x700FF;
        if ((value >> 17 & 3) == 3) value &= ~(3u << 17);
        if ((value >> 17 & 3) == 2 && !_cpu.Model.Has(CpuFeature.TscDeadline)) value &= ~(3u << 17);
        Register(LvtTimer) = value | ((Register(Spurious) & SoftwareEnable) == 0 ? Masked : 0);
        if (before == 2 != (TimerMode == 2))
        {
            // Between deadline and count modes the timer stops.
            _tscDeadline = 0;
            Register(InitialCount) = 0;
            _timer.Disarm();
        }
    }

    private long TickLength
    {
        get
        {
            var d = Register(Divide);
            var shift = (int)((d & 3) | ((d >> 1) & 4));
            return NanosecondsPerTick << ((shift + 1) & 7);
        }
    }

    private void StartCount(uint used)
    {
        var now = _cpu.Partition.Clock.Now;
        var count = Register(InitialCount);
        _timerStart = now - used * TickLength;
        if (count == 0) _timer.Disarm();
        else _timer.Arm(_timerStart + count * TickLength);
    }

    private uint CurrentCountValue()
    {
        var count = Register(InitialCount);
        if (TimerMode == 2 || count == 0) return 0;
        var elapsed = (_cpu.Partition.Clock.Now - _timerStart) / TickLength;
        if (TimerMode == 1) return count - (uint)(elapsed % count);
        if (elapsed < count) return count - (uint)elapsed;

        // It has run out, but until its interrupt is there it shows the last tick: a state that is saved in between must not lose that interrupt.
        return _timer.Deadline == long.MaxValue ? 0u : 1;
    }

    private void ArmDeadline()
    {
        if (_tscDeadline == 0)
        {
            _timer.Disarm();
            return;
        }

        var deadline = (Int128)_tscDeadline - _cpu.TscOffset;
        _timer.Arm(deadline >= long.MaxValue ? long.MaxValue - 1 : deadline < 0 ? 0 : (long)deadline);
    }

    // On the clock's thread (or the processor's own, in counted time).
    private void OnTimer()
    {
        var lvt = Register(LvtTimer);
        if (TimerMode == 2)
        {
            _tscDeadline = 0;
        }
        else if (TimerMode == 1)
        {
            // A period is never shorter than 20 us of guest time, so that a hostile count cannot eat the host's clock thread.
            var period = Math.Max(Register(InitialCount) * TickLength, 20_000);
            var now = _cpu.Partition.Clock.Now;
            _timerStart += Register(InitialCount) * TickLength;
            if (now - _timerStart >= period) _timerStart = now - (now - _timerStart) % period;
            if (Register(InitialCount) != 0) _timer.Arm(Math.Max(_timerStart + Register(InitialCount) * TickLength, now + 20_000));
        }

        if ((lvt & Masked) == 0) Accept(0, (byte)lvt, false);
    }

    private uint ProcessorPriorityValue()
    {
        var tpr = Register(TaskPriority);
        var isr = (uint)Math.Max(Highest(InService), 0);
        return (tpr & 0xF0) >= (isr & 0xF0) ? tpr : isr & 0xF0;
    }

    private int Highest(uint first)
    {
        for (var word = 7; word >= 0; word--)
        {
            var bits = Register(first + (uint)word * 16);
            if (bits != 0) return word * 32 + BitOperations.Log2(bits);
        }

        return -1;
    }

    private int HighestRequested()
    {
        for (var word = 7; word >= 0; word--)
        {
            var bits = Volatile.Read(ref _requested[word]);
            if (bits != 0) return word * 32 + BitOperations.Log2(bits);
        }

        return -1;
    }
}
