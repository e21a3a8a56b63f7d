using FsCheck.Xunit;
using Vmm.Core.Errors;
using Vmm.Core.State;
using Vmm.Core.X86;

namespace Vmm.Core.Tests.State;

public class StateRoundTripTests
{
    [Fact]
    public void SaveAndLoad_EveryKindOfField_ComesBack()
    {
        var original = Sample.Filled();
        var loaded = new Sample();
        StateReader.Load("sample", StateWriter.Save(original), loaded);
        Assert.Empty(StateComparer.Compare(original, loaded));
        Assert.Equal(1, loaded.Loads);
        Assert.Equal(1, loaded.Inner.Loads);
        Assert.Equal(original.List, loaded.List);
    }

    [Fact]
    public void Save_FirstRecord_IsTagKindLengthValue()
    {
        var saved = StateWriter.Save(new Small { Value = 0x11223344 });
        Assert.Equal([5, 0, 0, 0, 0, 4, 0, 0, 0, 0x44, 0x33, 0x22, 0x11], saved);
    }

    [Fact]
    public void Load_UnknownTag_IsSkipped()
    {
        byte[] saved = [99, 0, 0, 0, 0, 2, 0, 0, 0, 1, 2, .. StateWriter.Save(new Small { Value = 7 }), 98, 0, 0, 0, 2, 0, 0, 0, 0];
        var loaded = new Small();
        StateReader.Load("small", saved, loaded);
        Assert.Equal(7u, loaded.Value);
    }

    [Fact]
    public void Load_MissingTag_KeepsTheResetValue()
    {
        var loaded = Sample.Filled();
        StateReader.Load("sample", ReadOnlyMemory<byte>.Empty, loaded);
        Assert.Empty(StateComparer.Compare(Sample.Filled(), loaded));
        Assert.Equal(1, loaded.Loads);
        Assert.Equal(0, loaded.Inner.Loads);
    }

    [Theory]
    [InlineData(new byte[] { 5, 0, 0, 0, 0, 2, 0, 0, 0, 1, 2 }, "tag 5 (Value)", "2 bytes where there should be 4")]
    [InlineData(new byte[] { 5, 0, 0, 0, 1, 4, 0, 0, 0, 1, 2, 3, 4 }, "tag 5 (Value)", "a List where there should be a Value")]
    [InlineData(new byte[] { 5, 0, 0, 0, 0, 5, 0, 0, 0, 1, 2, 3, 4 }, "offset 0", "no whole record")]
    [InlineData(new byte[] { 5, 0, 0, 0, 0, 255, 255, 255, 255 }, "offset 0", "no whole record")]
    [InlineData(new byte[] { 5, 0, 0, 0, 3, 0, 0, 0, 0 }, "offset 0", "no whole record")]
    [InlineData(new byte[] { 5, 0, 0, 128, 0, 0, 0, 0, 0 }, "offset 0", "no whole record")]
    [InlineData(new byte[] { 5, 0, 0 }, "offset 0", "no whole record")]
    [InlineData(new byte[] { 6, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0 }, "tag 6", "twice")]
    [InlineData(new byte[] { 6, 0, 0, 0, 2, 3, 0, 0, 0, 1, 2, 3 }, "offset 9", "no whole record")]
    public void Load_Malformed_NamesUnitAndPlace(byte[] saved, string place, string reason)
    {
        var target = new Small { Value = 3 };
        var e = Assert.Throws<SnapshotException>(() => StateReader.Load("small", saved, target));
        Assert.Contains("unit 'small'", e.Place);
        Assert.Contains(place, e.Place);
        Assert.Contains(reason, e.Message);
        Assert.Equal(3u, target.Value);
    }

    [Fact]
    public void Load_FaultInAPart_NamesItsPath()
    {
        byte[] saved = [4, 0, 0, 0, 2, 10, 0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0, 0, 9];
        var e = Assert.Throws<SnapshotException>(() => StateReader.Load("sample", saved, new Sample()));
        Assert.Contains("Inner.Value", e.Place);
    }

    [Fact]
    public void Load_ListTooLong_IsRefusedBeforeAllocating()
    {
        byte[] body = new byte[4 * 101];
        byte[] saved = [3, 0, 0, 0, 1, .. BitConverter.GetBytes(body.Length), .. body];
        Assert.Contains("at most 100", Assert.Throws<SnapshotException>(() => StateReader.Load("sample", saved, new Sample())).Message);
        saved = [3, 0, 0, 0, 1, 3, 0, 0, 0, 1, 2, 3];
        Assert.Contains("whole number of elements", Assert.Throws<SnapshotException>(() => StateReader.Load("sample", saved, new Sample())).Message);
    }

    [Fact]
    public void Load_NestedTooDeep_IsRefused()
    {
        byte[] saved = [];
        for (var i = 0; i < 5_000; i++) saved = [1, 0, 0, 0, 2, .. BitConverter.GetBytes(saved.Length), .. saved];
        Assert.Contains("nested", Assert.Throws<SnapshotException>(() => StateReader.Load("deep", saved, new Small())).Message);
    }

    [Fact]
    public void Load_BoolOfOtherValue_BecomesTrue()
    {
        var flag = new Flag();
        StateReader.Load("flag", new byte[] { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0x80 }, flag);
        Assert.True(flag.Value);
        Assert.Equal(StateWriter.Save(new Flag { Value = true }), StateWriter.Save(flag));
    }

    [Fact]
    public void Load_UnitRefusesItsValues_IsASnapshotException()
    {
        var e = Assert.Throws<SnapshotException>(() => StateReader.Load("small", StateWriter.Save(new Small { Value = Small.Bad }), new Small()));
        Assert.Contains("do not fit together", e.Message);
        Assert.IsType<IndexOutOfRangeException>(e.InnerException);
    }

    [Fact]
    public void Save_TagTwice_Throws() => Assert.Contains("used twice", Assert.Throws<InvalidOperationException>(() => StateWriter.Save(new Twice())).Message);

    [Property(MaxTest = 2_000)]
    public void Load_AnyBytes_LoadsOrRefuses(byte[] bytes)
    {
        try
        {
            StateReader.Load("any", bytes, new Sample());
        }
        catch (SnapshotException)
        {
        }
    }

    [Property(MaxTest = 2_000)]
    public void Load_DamagedState_LoadsOrRefuses(int place, byte value)
    {
        var saved = StateWriter.Save(Sample.Filled());
        saved[(int)((uint)place % saved.Length)] = value;
        var target = new Sample();
        try
        {
            StateReader.Load("any", saved, target);
        }
        catch (SnapshotException)
        {
        }

        Assert.True(target.List.Length <= 100);
    }

    [Fact]
    public void VcpuState_RoundTrip_IsEqual()
    {
        var random = new Random(1);
        var state = new VcpuState { Rip = 0x1234, Msrs = [new MsrValue(0x10, 5), new MsrValue(0xC0000081, ulong.MaxValue)], InjectedVector = 14, NmiBlocked = true, MpState = MpState.Halted };
        random.NextBytes(state.Xsave);
        for (var i = 0; i < 16; i++) state.Gpr[i] = (ulong)random.NextInt64();
        for (var i = 0; i < 6; i++) state.Segments[i] = new SegmentState((ulong)random.NextInt64(), (uint)random.Next(), (ushort)i, 0x93);
        state.Gdt = new DescriptorTable(0xFFFF_8000_0000_0000, 0x7F);
        var loaded = new VcpuState();
        StateReader.Load("vcpu0", StateWriter.Save(state), loaded);
        Assert.Empty(StateComparer.Compare(state, loaded));
        Assert.Equal(state.Segments, loaded.Segments);
        Assert.Equal(state.Gdt, loaded.Gdt);
        Assert.Equal(state.Msrs, loaded.Msrs);
    }

    [Fact]
    public void Dump_ShowsNamesValuesAndParts()
    {
        var text = StateDump.Text(Sample.Filled());
        Assert.Equal(
            """
            1 Byte = 0x12
            2 Words = [0x7 x3, 0x8]
            3 List = [0x1, 0x2, 0x3]
            4 Inner
              5 Value = 0xdeadbeef
            6 IsOn = 0x1
            7 Kind = 0x2

            """.ReplaceLineEndings("\n"), text);
    }

    [Fact]
    public void Compare_TellsEachDifference()
    {
        var (a, b) = (Sample.Filled(), Sample.Filled());
        b.Byte = 0x13;
        b.Words[3] = 9;
        b.Inner.Value = 1;
        b.List = [1, 2];
        Assert.Equal(
            [
                new StateDifference("Byte", "0x12", "0x13"), new StateDifference("Words[3]", "0x8", "0x9"),
                new StateDifference("List", "[0x1, 0x2, 0x3]", "[0x1, 0x2]"), new StateDifference("Inner.Value", "0xdeadbeef", "0x1"),
            ], StateComparer.Compare(a, b));
        Assert.Equal("Byte: 0x12, 0x13", StateComparer.Compare(a, b)[0].ToString());
    }

    [Fact]
    public void Compare_DifferentUnits_TellsWhatIsAbsent()
    {
        var differences = StateComparer.Compare(new Small { Value = 1 }, new Flag { Value = true });
        Assert.Equal([new StateDifference("Value", "0x1", "absent"), new StateDifference("Value", "absent", "0x1")], differences);
    }

    private sealed class Sample : IStateful
    {
        public byte Byte;
        public int[] List = [];
        public bool IsOn;
        public DayOfWeek Kind;

        public ushort[] Words { get; } = new ushort[4];

        public Small Inner { get; } = new();

        public int Loads { get; private set; }

        public static Sample Filled()
        {
            var sample = new Sample { Byte = 0x12, List = [1, 2, 3], IsOn = true, Kind = DayOfWeek.Tuesday };
            sample.Inner.Value = 0xDEADBEEF;
            sample.Words.AsSpan().Fill(7);
            sample.Words[3] = 8;
            return sample;
        }

        public void VisitState(StateVisitor visitor)
        {
            visitor.Field(1, ref Byte);
            visitor.Array(2, Words.AsSpan());
            visitor.List(3, ref List, 100);
            visitor.Part(4, Inner);
            visitor.Field(6, ref IsOn);
            visitor.Field(7, ref Kind);
        }

        public void OnStateLoaded() => Loads++;
    }

    private sealed class Small : IStateful
    {
        public const uint Bad = 0xBAD;
        public uint Value;

        public int Loads { get; private set; }

        public void VisitState(StateVisitor visitor) => visitor.Field(5, ref Value);

        public void OnStateLoaded()
        {
            Loads++;
            if (Value == Bad) throw new IndexOutOfRangeException("no such thing");
        }
    }

    private sealed class Flag : IStateful
    {
        public bool Value;

        public void VisitState(StateVisitor visitor) => visitor.Field(1, ref Value);
    }

    private sealed class Twice : IStateful
    {
        private int _a;

        public void VisitState(StateVisitor visitor)
        {
            visitor.Field(1, ref _a);
            visitor.Field(1, ref _a);
        }
    }
}
