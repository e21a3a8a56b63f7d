namespace Vmm.Guests.Elf;

/// <summary>What an ELF file wants from the dynamic linker.</summary>
internal sealed class ElfNeeds
{
    /// <summary>Path of the program interpreter (ld.so), or null.</summary>
    public string? Interpreter { get; set; }

    /// <summary>DT_NEEDED: names of shared libraries.</summary>
    public List<string> Libraries { get; } = [];

    /// <summary>DT_RPATH and DT_RUNPATH: directories, perhaps with $ORIGIN.</summary>
    public List<string> SearchPaths { get; } = [];
}
