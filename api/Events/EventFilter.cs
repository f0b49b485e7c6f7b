namespace Api.Events;

/// <summary>Which events somebody wants: names of types, or <c>sandbox.*</c> for all of a kind, or <c>*</c>. Pure.</summary>
public static class EventFilter
{
    public const int MaxPatterns = 32;
    private static readonly HashSet<string> Kinds = EventType.All.Select(t => t[..t.IndexOf('.', StringComparison.Ordinal)]).ToHashSet();

    /// <summary>Null when every pattern can match something.</summary>
    public static string? Problem(IReadOnlyList<string>? patterns)
    {
        if (patterns is { Count: > MaxPatterns }) return $"takes at most {MaxPatterns}";
        return patterns is null || patterns.All(IsKnown)
            ? null
            : $"takes types of events ({string.Join(", ", EventType.All.Order(StringComparer.Ordinal))}), a kind of them (sandbox.*), or *";
    }

    /// <summary>As patterns of SQL's LIKE; no name of a type has a character that is special there. None: everything.</summary>
    public static string[] Like(IReadOnlyList<string>? patterns) =>
        patterns is null or [] ? ["%"] : patterns.Select(p => p.EndsWith('*') ? p[..^1] + "%" : p).Distinct().ToArray();

    private static bool IsKnown(string? pattern) =>
        pattern is not null && (pattern == "*" || EventType.All.Contains(pattern) || (pattern.EndsWith(".*", StringComparison.Ordinal) && Kinds.Contains(pattern[..^2])));
}
