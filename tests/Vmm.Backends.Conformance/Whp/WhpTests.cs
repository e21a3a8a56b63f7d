using Vmm.Backends.Conformance.Software;
using Vmm.Backends.Conformance.Topics;

namespace Vmm.Backends.Conformance.Whp;

// Every topic, on this backend.
public sealed class WhpCarryTests : CarryTests<WhpBackend>;

public sealed class WhpCpuidTests : CpuidTests<WhpBackend>;

public sealed class WhpExceptionTests : ExceptionTests<WhpBackend>;

public sealed class WhpHaltTests : HaltTests<WhpBackend>;

public sealed class WhpInterruptTests : InterruptTests<WhpBackend>;

public sealed class WhpMemoryTests : MemoryTests<WhpBackend>;

public sealed class WhpMmioTests : MmioTests<WhpBackend>;

public sealed class WhpMsrTests : MsrTests<WhpBackend>;

public sealed class WhpNmiTests : NmiTests<WhpBackend>;

public sealed class WhpPortTests : PortTests<WhpBackend>;

public sealed class WhpProcessorTests : ProcessorTests<WhpBackend>;

public sealed class WhpRaceTests : RaceTests<WhpBackend>;

public sealed class WhpRunTests : RunTests<WhpBackend>;

public sealed class WhpStateTests : StateTests<WhpBackend>;

public sealed class WhpDifferentialTests : DifferentialTests<WhpBackend, SoftwareBackend>;
