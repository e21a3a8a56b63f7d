using System.Collections.Immutable;

namespace Vmm.Core.Boot;

/// <summary>Ways to say what a machine boots. Nothing here fails: <see cref="VirtualMachineBuilder.Build"/> tells what is wrong with an image.</summary>
public static class BootBuilderExtensions
{
    /// <summary>
    /// Boots a kernel by what its contents say it is: a bzImage or x86-64 vmlinux by the Linux boot protocol, an image with a
    /// Multiboot 1 header by that, any other 32-bit x86 ELF file by PVH. Of anything else the error says what was found.
    /// </summary>
    /// <param name="builder">The builder.</param>
    /// <param name="kernel">The kernel file's bytes.</param>
    /// <param name="commandLine">The kernel command line.</param>
    /// <param name="initrd">The initial RAM disk; empty for none. Not for Multiboot, which has modules.</param>
    /// <param name="modules">Modules, for Multiboot and PVH.</param>
    /// <param name="preferPvh">Whether a 64-bit ELF kernel that has a PVH entry is started by that.</param>
    /// <param name="name">What the kernel is called in messages, such as its path.</param>
    public static VirtualMachineBuilder WithKernel(
        this VirtualMachineBuilder builder, ReadOnlyMemory<byte> kernel, string commandLine = "", ReadOnlyMemory<byte> initrd = default, IEnumerable<BootModule>? modules = null, bool preferPvh = false, string name = "kernel")
    {
        ImmutableArray<BootModule> all = modules is null ? [] : [.. modules];
        return builder.WithBootLoader(KernelFormat.Choose(name, kernel, Make, preferPvh));

        IBootLoader Make(KernelFormat.Kind kind) => kind switch
        {
            KernelFormat.Kind.Linux when !all.IsEmpty => new RefusedBoot(name, "modules", "the Linux boot protocol has none; give one file as the initrd, or boot an ELF kernel by PVH."),
            KernelFormat.Kind.Multiboot when !initrd.IsEmpty => new RefusedBoot(name, "initrd", "Multiboot has modules, not an initrd; give the file as a module."),
            KernelFormat.Kind.Linux => new LinuxBoot(kernel) { KernelName = name, CommandLine = commandLine, Initrd = initrd },
            KernelFormat.Kind.Pvh => new PvhBoot(kernel) { KernelName = name, CommandLine = commandLine, Initrd = initrd, Modules = all },
            _ => new MultibootBoot(kernel) { KernelName = name, CommandLine = commandLine, Modules = all },
        };
    }

    /// <summary>Boots a Linux kernel directly: see <see cref="LinuxBoot"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="kernel">A bzImage or an x86-64 ELF vmlinux.</param>
    /// <param name="commandLine">The kernel command line.</param>
    /// <param name="initrd">The initial RAM disk; empty for none.</param>
    public static VirtualMachineBuilder WithLinux(this VirtualMachineBuilder builder, ReadOnlyMemory<byte> kernel, string commandLine = "", ReadOnlyMemory<byte> initrd = default) =>
        builder.WithBootLoader(new LinuxBoot(kernel) { CommandLine = commandLine, Initrd = initrd });

    /// <summary>Boots an ELF kernel by its PVH entry: see <see cref="PvhBoot"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="kernel">An ELF file with the note XEN_ELFNOTE_PHYS32_ENTRY.</param>
    /// <param name="commandLine">The kernel command line.</param>
    /// <param name="initrd">The initial RAM disk; empty for none.</param>
    public static VirtualMachineBuilder WithPvh(this VirtualMachineBuilder builder, ReadOnlyMemory<byte> kernel, string commandLine = "", ReadOnlyMemory<byte> initrd = default) =>
        builder.WithBootLoader(new PvhBoot(kernel) { CommandLine = commandLine, Initrd = initrd });

    /// <summary>Boots a Multiboot 1 kernel: see <see cref="MultibootBoot"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="kernel">A 32-bit ELF file or an image with address fields.</param>
    /// <param name="commandLine">The kernel's command line.</param>
    /// <param name="modules">The modules, in order.</param>
    public static VirtualMachineBuilder WithMultiboot(this VirtualMachineBuilder builder, ReadOnlyMemory<byte> kernel, string commandLine = "", params IEnumerable<BootModule> modules) =>
        builder.WithBootLoader(new MultibootBoot(kernel) { CommandLine = commandLine, Modules = [.. modules] });

    /// <summary>Starts firmware at the reset vector, from ROM regions that this adds: see <see cref="FirmwareBoot"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="image">A multiple of 64 KiB, at most 16 MiB.</param>
    public static VirtualMachineBuilder WithFirmware(this VirtualMachineBuilder builder, ReadOnlyMemory<byte> image) =>
        new FirmwareBoot(image).AddTo(builder);

    /// <summary>Starts bare machine code: see <see cref="ProgramBoot"/>, whose other settings are reached by <see cref="VirtualMachineBuilder.WithBootLoader"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="program">Machine code and data, entered at the first byte.</param>
    /// <param name="mode">The mode it starts in.</param>
    /// <param name="loadAddress">The guest-physical address of the first byte.</param>
    public static VirtualMachineBuilder WithProgram(this VirtualMachineBuilder builder, ReadOnlyMemory<byte> program, ProgramMode mode = ProgramMode.Long, ulong loadAddress = ProgramBoot.DefaultLoadAddress) =>
        builder.WithBootLoader(new ProgramBoot(program) { Mode = mode, LoadAddress = loadAddress });
}
