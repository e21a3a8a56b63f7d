using Vmm.Backends.Conformance.Topics;

namespace Vmm.Backends.Conformance.Software;

// Every topic, on this backend.
public sealed class SoftwareCarryTests : CarryTests<SoftwareBackend>;

public sealed class SoftwareCpuidTests : CpuidTests<SoftwareBackend>;

public sealed class SoftwareExceptionTests : ExceptionTests<SoftwareBackend>;

public sealed class SoftwareHaltTests : HaltTests<SoftwareBackend>;

public sealed class SoftwareInterruptTests : InterruptTests<SoftwareBackend>;

public sealed class SoftwareMemoryTests : MemoryTests<SoftwareBackend>;

public sealed class SoftwareMmioTests : MmioTests<SoftwareBackend>;

public sealed class SoftwareMsrTests : MsrTests<SoftwareBackend>;

public sealed class SoftwareNmiTests : NmiTests<SoftwareBackend>;

public sealed class SoftwarePortTests : PortTests<SoftwareBackend>;

public sealed class SoftwareProcessorTests : ProcessorTests<SoftwareBackend>;

public sealed class SoftwareRaceTests : RaceTests<SoftwareBackend>;

public sealed class SoftwareRunTests : RunTests<SoftwareBackend>;

public sealed class SoftwareStateTests : StateTests<SoftwareBackend>;

// Against itself: shows that the programs end, and always in the same way; other pairs show more.
public sealed class SoftwareDifferentialTests : DifferentialTests<SoftwareBackend, SoftwareBackend>;
