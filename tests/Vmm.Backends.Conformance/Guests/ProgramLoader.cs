using Iced.Intel;
using Vmm.Core.Boot;
using Vmm.Core.X86;

namespace Vmm.Backends.Conformance.Guests;

/// <summary>Loads a program of the suite into a whole machine; it starts in long mode, in ring 0 or 3.</summary>
/// <param name="body">The program.</param>
/// <param name="user">Ring 3.</param>
internal sealed class ProgramLoader(Action<Assembler> body, bool user) : IBootLoader
{
    public IEnumerable<string> Validate(BootContext context) => [];

    public void Load(BootContext context, VcpuState state)
    {
        var a = new Assembler(64);
        body(a);
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), GuestTables.Program);
        context.Memory.TryWrite(GuestTables.Program, stream.ToArray());
        GuestTables.Write(context.Memory, state, 64, user);
    }
}
