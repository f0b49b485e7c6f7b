using Contracts;
using Worker.Faults;

namespace GuestAgent;

// Pure: SMMU events by type, from the records of the kernel's log in their order. A kernel that decodes events tells each of them twice, by its number
// and then by its name: the second is passed over.
internal sealed class SmmuEventCounts
{
    public const string Other = "OTHER";
    private const int MaxSmmus = 64;
    private readonly Dictionary<string, long> _counts = new(StringComparer.Ordinal);
    /// <summary>SMMUs whose last event was told by its number only, so far.</summary>
    private readonly HashSet<string> _numbered = new(StringComparer.Ordinal);

    public IReadOnlyDictionary<string, long> Counts => new Dictionary<string, long>(_counts);

    public void Take(ReadOnlySpan<char> record)
    {
        if (SmmuLogLine.Parse(record) is not { } line)
            return;
        if (line.Client is not null && _numbered.Remove(line.Smmu))
            return;
        if (line.Client is null && _numbered.Count < MaxSmmus)
            _numbered.Add(line.Smmu);
        var type = _counts.Count < AgentSmmuLog.MaxTypes - 1 || _counts.ContainsKey(line.Type) ? line.Type : Other;
        _counts[type] = _counts.GetValueOrDefault(type) + 1;
    }
}
