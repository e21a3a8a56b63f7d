using Vmm.Backends.Conformance.Topics;

namespace Vmm.Backends.Conformance.Software;

// Every topic, on this backend.
public sealed class TranslatorCarryTests : CarryTests<TranslatorBackend>;

public sealed class TranslatorCpuidTests : CpuidTests<TranslatorBackend>;

public sealed class TranslatorExceptionTests : ExceptionTests<TranslatorBackend>;

public sealed class TranslatorHaltTests : HaltTests<TranslatorBackend>;

public sealed class TranslatorInterruptTests : InterruptTests<TranslatorBackend>;

public sealed class TranslatorMemoryTests : MemoryTests<TranslatorBackend>;

public sealed class TranslatorMmioTests : MmioTests<TranslatorBackend>;

public sealed class TranslatorMsrTests : MsrTests<TranslatorBackend>;

public sealed class TranslatorNmiTests : NmiTests<TranslatorBackend>;

public sealed class TranslatorPortTests : PortTests<TranslatorBackend>;

public sealed class TranslatorProcessorTests : ProcessorTests<TranslatorBackend>;

public sealed class TranslatorRaceTests : RaceTests<TranslatorBackend>;

public sealed class TranslatorRunTests : RunTests<TranslatorBackend>;

public sealed class TranslatorStateTests : StateTests<TranslatorBackend>;

public sealed class TranslatorDifferentialTests : DifferentialTests<TranslatorBackend, SoftwareBackend>;
