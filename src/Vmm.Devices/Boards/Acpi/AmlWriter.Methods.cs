// ACPI 6.5, 20.2.5 "Term Objects Encoding", 6.4.3.5 "Address Space Resource Descriptors".
using System.Text;

namespace Vmm.Devices.Boards.Acpi;

/// <summary>What methods are made of. Operands are byte code, made by the static members.</summary>
internal sealed partial class AmlWriter
{
    private const byte MethodOp = 0x14, RegionOp = 0x80, FieldOp = 0x81, StoreOp = 0x70, AndOp = 0x7B, OrOp = 0x7D, NotifyOp = 0x86, CreateDWordFieldOp = 0x8A;
    private const byte IfOp = 0xA0, ReturnOp = 0xA4, LNotOp = 0x92, LEqualOp = 0x93, Local0Op = 0x60, Arg0Op = 0x68;
    private const byte SystemIo = 1, DWordAccess = 3, Serialized = 8, DWordBits = 32;
    private const byte WordAddress = 0x88, DWordAddress = 0x87, QWordAddress = 0x8A;
    private const byte MemoryRange = 0, IoRange = 1, BusRange = 2, FixedRange = 0x0C, EntireIoRange = 3, CacheableBit = 0x2;

    /// <summary>Method (name, arguments, Serialized) { ... }</summary>
    public void Method(string name, int arguments, Action<AmlWriter> body)
    {
        var inner = new AmlWriter();
        inner.Path(name);
        inner._bytes.Add((byte)(arguments | Serialized));
        body(inner);
        _bytes.Add(MethodOp);
        WithLength(inner);
    }

    /// <summary>OperationRegion (name, SystemIO, port, length) with a Field of double words.</summary>
    public void PortFields(string region, ushort port, byte length, params ReadOnlySpan<string> fields)
    {
        _bytes.AddRange([ExtendedPrefix, RegionOp]);
        Path(region);
        _bytes.Add(SystemIo);
        Integer(port);
        Integer(length);
        var inner = new AmlWriter();
        inner.Path(region);
        inner._bytes.Add(DWordAccess);
        foreach (var field in fields)
        {
            inner._bytes.AddRange(Encoding.ASCII.GetBytes(field));
            inner._bytes.Add(DWordBits);
        }

        _bytes.AddRange([ExtendedPrefix, FieldOp]);
        WithLength(inner);
    }

    /// <summary>An integer as an operand.</summary>
    public static byte[] Number(ulong value) => Bytes(w => w.Integer(value));

    /// <summary>A name as an operand.</summary>
    public static byte[] Object(string path) => Bytes(w => w.Path(path));

    /// <summary>Arg0 to Arg6.</summary>
    public static byte[] Arg(int number) => [(byte)(Arg0Op + number)];

    /// <summary>Local0 to Local7.</summary>
    public static byte[] Local(int number) => [(byte)(Local0Op + number)];

    /// <summary>And (left, right)</summary>
    public static byte[] And(byte[] left, byte[] right) => [AndOp, .. left, .. right, ZeroOp];

    /// <summary>LEqual (left, right)</summary>
    public static byte[] Equal(byte[] left, byte[] right) => [LEqualOp, .. left, .. right];

    /// <summary>LNot (operand)</summary>
    public static byte[] Not(byte[] operand) => [LNotOp, .. operand];

    /// <summary>Buffer () { bytes }</summary>
    public static byte[] Buffer(byte[] content) => Bytes(w =>
    {
        var inner = new AmlWriter();
        inner.Integer((ulong)content.Length);
        inner._bytes.AddRange(content);
        w._bytes.Add(BufferOp);
        w.WithLength(inner);
    });

    /// <summary>Store (value, target)</summary>
    public void Store(byte[] value, byte[] target) => _bytes.AddRange([StoreOp, .. value, .. target]);

    /// <summary>And (value, value, target)</summary>
    public void And(byte[] left, byte[] right, byte[] target) => _bytes.AddRange([AndOp, .. left, .. right, .. target]);

    /// <summary>Or (left, right, target)</summary>
    public void Or(byte[] left, byte[] right, byte[] target) => _bytes.AddRange([OrOp, .. left, .. right, .. target]);

    /// <summary>Notify (target, value)</summary>
    public void Notify(string target, byte[] value)
    {
        _bytes.Add(NotifyOp);
        Path(target);
        _bytes.AddRange(value);
    }

    /// <summary>CreateDWordField (buffer, offset, name)</summary>
    public void CreateDWordField(byte[] buffer, int offset, string name)
    {
        _bytes.AddRange([CreateDWordFieldOp, .. buffer, .. Number((ulong)offset)]);
        Path(name);
    }

    /// <summary>If (predicate) { ... }</summary>
    public void If(byte[] predicate, Action<AmlWriter> body)
    {
        var inner = new AmlWriter();
        inner._bytes.AddRange(predicate);
        body(inner);
        _bytes.Add(IfOp);
        WithLength(inner);
    }

    /// <summary>Return (value)</summary>
    public void Return(byte[] value) => _bytes.AddRange([ReturnOp, .. value]);

    /// <summary>Calls a method.</summary>
    public void Call(string method, params ReadOnlySpan<byte[]> arguments)
    {
        Path(method);
        foreach (var argument in arguments) _bytes.AddRange(argument);
    }

    /// <summary>WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, first, last, 0, count)</summary>
    public void BusNumbers(byte first, byte last) => Range(WordAddress, BusRange, 0, first, last, 2);

    /// <summary>WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, first, last, 0, count)</summary>
    public void Ports(ushort first, ushort last) => Range(WordAddress, IoRange, EntireIoRange, first, last, 2);

    /// <summary>DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0, first, last, 0, length)</summary>
    public void LowMemory(uint first, uint last) => Range(DWordAddress, MemoryRange, ReadWrite, first, last, 4);

    /// <summary>QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite, 0, first, last, 0, length)</summary>
    public void HighMemory(ulong first, ulong last) => Range(QWordAddress, MemoryRange, ReadWrite | CacheableBit, first, last, 8);

    private void Range(byte descriptor, byte type, byte flags, ulong first, ulong last, int size)
    {
        _bytes.Add(descriptor);
        Word((ushort)(3 + 5 * size));
        _bytes.AddRange([type, FixedRange, flags]);
        foreach (var value in (ReadOnlySpan<ulong>)[0, first, last, 0, last - first + 1])
        {
            for (var i = 0; i < size; i++) _bytes.Add((byte)(value >> (8 * i)));
        }
    }

    private static byte[] Bytes(Action<AmlWriter> write)
    {
        var writer = new AmlWriter();
        write(writer);
        return writer.ToArray();
    }
}
