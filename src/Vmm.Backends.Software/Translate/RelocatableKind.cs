namespace Vmm.Backends.Software.Translate;

/// <summary>How an instruction is translated.</summary>
internal enum RelocatableKind
{
    /// <summary>By the interpreter's handler.</summary>
    No,

    /// <summary>It does nothing: NOPs and hints.</summary>
    Nothing,

    /// <summary>The host does it on general registers and memory.</summary>
    Integer,

    /// <summary>The host does it on vector registers.</summary>
    Vector,

    /// <summary>The host's x87 unit does it.</summary>
    X87,

    /// <summary>It works on the stack, or is LEA.</summary>
    Stack,

    /// <summary>Of a few system instructions, hot in kernels, what they change is changed here.</summary>
    System,

    /// <summary>A bit in memory, by an offset that can reach anywhere.</summary>
    FarBit,

    /// <summary>CMPXCHG16B.</summary>
    Wide,

    /// <summary>DIV: by the host when neither divisor nor upper half can make it fault.</summary>
    Divide,

    /// <summary>It ends the block by a near branch.</summary>
    Branch,
}
