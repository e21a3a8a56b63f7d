namespace Vmm.Core.Boot;

/// <summary>Ways to say what a machine boots. Nothing here fails: <see cref="VirtualMachineBuilder.Build"/> tells what is wrong with an image.</summary>
public static class BootBuilderExtensions
{
    /// <summary>Boots a Linux kernel directly: see <see cref="LinuxBoot"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="kernel">A bzImage or an x86-64 ELF vmlinux.</param>
    /// <param name="commandLine">The kernel command line.</param>
    /// <param name="initrd">The initial RAM disk; empty for none.</param>
    public static VirtualMachineBuilder WithLinux(this VirtualMachineBuilder builder, ReadOnlyMemory<byte> kernel, string commandLine = "", ReadOnlyMemory<byte> initrd = default) =>
        builder.WithBootLoader(new LinuxBoot(kernel) { CommandLine = commandLine, Initrd = initrd });

    /// <summary>Starts bare machine code: see <see cref="ProgramBoot"/>, whose other settings are reached by <see cref="VirtualMachineBuilder.WithBootLoader"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="program">Machine code and data, entered at the first byte.</param>
    /// <param name="mode">The mode it starts in.</param>
    /// <param name="loadAddress">The guest-physical address of the first byte.</param>
    public static VirtualMachineBuilder WithProgram(this VirtualMachineBuilder builder, ReadOnlyMemory<byte> program, ProgramMode mode = ProgramMode.Long, ulong loadAddress = ProgramBoot.DefaultLoadAddress) =>
        builder.WithBootLoader(new ProgramBoot(program) { Mode = mode, LoadAddress = loadAddress });
}
