namespace Vmm.Core.State;

/// <summary>What the body of a <see cref="StateRecord"/> is.</summary>
internal enum StateRecordKind : byte
{
    /// <summary>A field or array of fixed length.</summary>
    Value = 0,

    /// <summary>Elements whose number the length tells.</summary>
    List = 1,

    /// <summary>Records.</summary>
    Part = 2,
}
