namespace Vmm.Backends.Software.Translate;

/// <summary>Why translated code came back; the site in the state tells where.</summary>
internal enum ExitKind
{
    /// <summary>A branch target that is not linked.</summary>
    Link = 1,

    /// <summary>The interpreter goes on at an instruction of a block.</summary>
    Interpret = 2,

    /// <summary>Something waits at the start of a block; nothing of it has happened.</summary>
    Event = 3,

    /// <summary>The state is complete, RIP included: the interpreter has done (or faulted) an instruction that ends the block.</summary>
    Done = 4,

    /// <summary>A callback met an exception, which is kept and thrown where C# code can pass it on.</summary>
    Failed = 5,

    /// <summary>A block is hot; nothing of it has happened.</summary>
    Hot = 6,
}
