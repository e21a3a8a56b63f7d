#:project ../src/Vmm
using Iced.Intel;
using Vmm;
using Vmm.Core.Boot;
using Vmm.Devices.Serial;
using static Iced.Intel.AssemblerRegisters;

var a = new Assembler(64);                      // the guest: 64-bit code that speaks on COM1
a.mov(dx, 0x3F8);
foreach (var c in "Hello from a virtual machine!\n") { a.mov(al, (byte)c); a.@out(dx, al); }
a.mov(dx, 0x604);                               // and then switches the power off, by ACPI
a.mov(ax, 0x3400);
a.@out(dx, ax);
var code = new MemoryStream();
a.Assemble(new StreamCodeWriter(code), ProgramBoot.DefaultLoadAddress);

var console = new ConsolePipe();
await using var vm = VmmHost.CreateBuilder(console).WithProgram(code.ToArray()).Build();
await vm.StartAsync();
Console.WriteLine(await console.ReadLineAsync());
Console.WriteLine($"It ended: {(await vm.Completion).Kind}, after {vm.Statistics.Exits.Sum(e => e.Count)} exits.");
