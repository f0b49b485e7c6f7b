using Microsoft.Extensions.Logging.Abstractions;
using Worker.Faults;
using Worker.Faults.Tracing;
using Worker.Hardware;

namespace Worker.Tests.Faults.Tracing;

/// <summary>A host whose kernel tells nothing of guests.</summary>
internal static class NoTracing
{
    public static HostTracing Anywhere => new(
        new HostSmmuEvents("/nonexistent", new KernelFacts("7.3.4", null), TimeProvider.System, NullLogger.Instance),
        new KernelTrace(null, "/nonexistent", TracePlan.Nothing, TimeProvider.System, NullLogger.Instance), TimeProvider.System, NullLogger.Instance);
}
