using Contracts;

namespace Worker;

/// <summary>One entry of a table of reasons: a stable code, a sentence, and what to do about it. What differs from case to case is the detail.</summary>
public sealed record Reason(string Code, string Message, string Remedy)
{
    public string Say(string? detail) => string.IsNullOrEmpty(detail) ? Message : $"{Message} {detail}";

    public Failure ToFailure(DateTimeOffset now, string? detail = null) => new(Code, Say(detail), Remedy, now);
}
