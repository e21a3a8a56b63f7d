using System.Numerics;
using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>What is known of registers: an unknown value that has a name, plus a constant.</summary>
internal sealed partial class AccessPlan
{
    private void Track(in Instruction instruction)
    {
        var to = instruction.OpCount > 0 && instruction.Op0Kind == OpKind.Register ? Number(instruction.Op0Register) : -1;
        switch (instruction.Code)
        {
            case Code.Mov_r64_rm64 or Code.Mov_rm64_r64 when to >= 0 && instruction.Op1Kind == OpKind.Register:
                (_value[to], _offset[to]) = (_value[Number(instruction.Op1Register)], _offset[Number(instruction.Op1Register)]);
                return;
            case Code.Mov_r64_imm64 or Code.Mov_rm64_imm32 or Code.Mov_r32_imm32 when to >= 0:
                (_value[to], _offset[to]) = (_value[Constant], instruction.GetImmediate(1));
                return;
            case Code.Add_rm64_imm8 or Code.Add_rm64_imm32 when to >= 0:
                _offset[to] += instruction.GetImmediate(1);
                return;
            case Code.Sub_rm64_imm8 or Code.Sub_rm64_imm32 when to >= 0:
                _offset[to] -= instruction.GetImmediate(1);
                return;
            case Code.Inc_rm64 or Code.Dec_rm64 when to >= 0:
                _offset[to] += instruction.Code == Code.Inc_rm64 ? 1UL : ulong.MaxValue;
                return;
            // Sums and differences of the same values are the same.
            case Code.Add_r64_rm64 or Code.Add_rm64_r64 or Code.Sub_r64_rm64 or Code.Sub_rm64_r64 when to >= 0 && instruction.Op1Kind == OpKind.Register:
                var other = Number(instruction.Op1Register);
                var adds = instruction.Code is Code.Add_r64_rm64 or Code.Add_rm64_r64;
                (_value[to], _offset[to]) = (Derive(adds ? 1 : -1, _value[to], _value[other]), adds ? _offset[to] + _offset[other] : _offset[to] - _offset[other]);
                return;
            case Code.Lea_r64_m when instruction.MemoryBase is >= Register.RAX and <= Register.R15 && instruction.MemoryIndex is >= Register.RAX and <= Register.R15:
                var (one, two, scale) = (Number(instruction.MemoryBase), Number(instruction.MemoryIndex), instruction.MemoryIndexScale);
                (_value[to], _offset[to]) = (Derive(scale, _value[one], _value[two]), _offset[one] + _offset[two] * (ulong)scale + instruction.MemoryDisplacement64);
                return;
            case Code.Lea_r64_m when instruction.MemoryIndex == Register.None && instruction.MemoryBase is Register.RIP or >= Register.RAX and <= Register.R15:
                var (from, displacement) = instruction.MemoryBase == Register.RIP
                    ? (Constant, instruction.IPRelativeMemoryAddress) : (Number(instruction.MemoryBase), instruction.MemoryDisplacement64);
                (_value[to], _offset[to]) = (_value[from], _offset[from] + displacement);
                return;
        }

        for (var written = _uses.Written(instruction); written != 0; written &= written - 1) Renew(BitOperations.TrailingZeroCount(written));
    }

    // The name of one value plus so many times another.
    private long Derive(int times, long value, long other)
    {
        if (!_derived.TryGetValue((times, value, other), out var name)) _derived[(times, value, other)] = name = ++_values;
        return name;
    }

    private void Renew(int register) => (_value[register], _offset[register]) = (++_values, 0);

    private void Forget()
    {
        _entered = false;
        // Names take 27 bits of a key; they never run out within one plan.
        _values = 0;
        _derived.Clear();
        _returns.Clear();
        for (var i = 0; i < _value.Length; i++) Renew(i);
    }
}
