using FsCheck;
using FsCheck.Fluent;

namespace Vmm.Storage.Tests.Support;

/// <summary>Sequences of changes of a disk, for FsCheck.</summary>
public static class DiskOperations
{
    public static Arbitrary<DiskOperation[]> Sequences() => Arb.From(Of(DiskOperationKind.Resize), Shrink);

    public static Gen<DiskOperation[]> Of(params DiskOperationKind[] without)
    {
        DiskOperationKind[] kinds = [DiskOperationKind.Write, DiskOperationKind.Write, .. Enum.GetValues<DiskOperationKind>().Except(without)];
        var operation = from kind in Gen.Elements(kinds)
                        from at in Gen.Choose(0, int.MaxValue)
                        from count in Gen.Frequency((3, Gen.Choose(0, 9000)), (1, Gen.Choose(0, int.MaxValue)))
                        from value in Gen.Choose(0, 255)
                        select new DiskOperation(kind, (uint)at, (uint)count, (byte)value);
        return operation.ArrayOf();
    }

    public static IEnumerable<DiskOperation[]> Shrink(DiskOperation[] all)
    {
        if (all.Length > 1)
        {
            yield return all[..(all.Length / 2)];
            yield return all[(all.Length / 2)..];
        }

        for (var i = 0; i < all.Length; i++) yield return [.. all[..i], .. all[(i + 1)..]];
    }
}
