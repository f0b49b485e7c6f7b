using Contracts;

namespace Worker.Faults;

// Page faults of the VMM's process. process: Null while it is not known which that is.
internal sealed class VmmFaults(Func<ProcessFaults?> process, Origin host) : IFaultCollector
{
    public IEnumerable<SourceReading> Read(DateTimeOffset now) => process() is { } known ? Of(known.Read(), NullReasons.VmmGone, host) : Of(null, NullReasons.VmmNotConfirmed, host);

    internal static IEnumerable<SourceReading> Of((long Minor, long Major)? faults, string otherwise, Origin host)
    {
        yield return Reading.Of(FaultSource.VmmMinor, faults?.Minor, null, otherwise, host);
        yield return Reading.Of(FaultSource.VmmMajor, faults?.Major, null, otherwise, host);
    }
}
