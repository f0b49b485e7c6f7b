using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Threading.RateLimiting;
using Api.Projects;

namespace Api.Http;

/// <summary>Settings <c>RateLimits__PerSecond</c> and <c>__Burst</c>: requests of one key, or one member who has signed in otherwise, on this replica.
/// <c>__FailuresPerMinute</c>: secrets of one address that were not good.</summary>
public sealed record RateLimits(int PerSecond, int Burst, int FailuresPerMinute)
{
    public static RateLimits Read(IConfiguration configuration)
    {
        int Positive(string name, int otherwise) => configuration.GetValue(name, otherwise) is > 0 and var value
            ? value : throw new InvalidOperationException($"{name} takes a number above 0.");
        return new(Positive("RateLimits:PerSecond", 100), Positive("RateLimits:Burst", 400), Positive("RateLimits:FailuresPerMinute", 60));
    }

    public static void Add(IServiceCollection services, RateLimits limits)
    {
        var (period, tokens) = limits.PerSecond < 10 ? (TimeSpan.FromSeconds(1.0 / limits.PerSecond), 1) : (TimeSpan.FromMilliseconds(100), limits.PerSecond / 10);
        services.AddSingleton(limits).AddSingleton<FailedAttempts>().AddRateLimiter(o =>
        {
            o.GlobalLimiter = PartitionedRateLimiter.Create<HttpContext, string>(http => http.User.Role() is null
                ? RateLimitPartition.GetNoLimiter("")
                : RateLimitPartition.GetTokenBucketLimiter($"{http.User.ProjectId()}/{http.User.ActorId()}", _ => new TokenBucketRateLimiterOptions
                {
                    TokenLimit = limits.Burst,
                    TokensPerPeriod = tokens,
                    ReplenishmentPeriod = period,
                    QueueLimit = 0,
                }));
            o.OnRejected = async (rejected, _) => await Refusal(rejected.HttpContext, rejected.Lease.TryGetMetadata(MetadataName.RetryAfter, out var after) ? after : period,
                $"A key may send {limits.PerSecond} requests a second, and {limits.Burst} at once.").ExecuteAsync(rejected.HttpContext);
        });
    }

    public static IResult Refusal(HttpContext http, TimeSpan after, string detail)
    {
        http.Response.Headers.RetryAfter = Math.Max(1, (int)Math.Ceiling(after.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
        return ApiProblem.Of(429, "rate_limited", detail);
    }
}

/// <summary>Keeps an address that shows secrets which are not good from asking the database for each.
/// Guarantees: memory of a fixed size, whatever is sent from wherever; a secret that was good lately is asked for all the same, so that a stranger at the same address
/// (or behind the same proxy) locks nobody out who is at work. Addresses share a count by chance, IPv6 addresses by their /64.</summary>
public sealed class FailedAttempts(RateLimits limits, TimeProvider time)
{
    private const int Counts = 4096, Known = 8192;
    private readonly Lock gate = new();
    private readonly (double Failures, long At)[] counts = new (double, long)[Counts];
    private readonly long[] good = new long[Known];
    private readonly int seed = Random.Shared.Next();

    public bool MayTry(IPAddress? from, string secret)
    {
        lock (gate) return good[Slot(secret, out var mark)] == mark || Present(Index(from)) + 1 <= limits.FailuresPerMinute;
    }

    public void Failed(IPAddress? from)
    {
        lock (gate)
        {
            var index = Index(from);
            counts[index] = (Math.Min(Present(index) + 1, limits.FailuresPerMinute), time.GetTimestamp());
        }
    }

    public void Succeeded(string secret)
    {
        lock (gate) good[Slot(secret, out var mark)] = mark;
    }

    public IResult Refusal(HttpContext http) =>
        RateLimits.Refusal(http, TimeSpan.FromMinutes(1.0 / limits.FailuresPerMinute), "Too many secrets from this address were not good.");

    /// <summary>Of the failures counted, those that a minute's worth has not forgiven yet.</summary>
    private double Present(int index) => Math.Max(0, counts[index].Failures - time.GetElapsedTime(counts[index].At).TotalMinutes * limits.FailuresPerMinute);

    private int Index(IPAddress? from)
    {
        var hash = new HashCode();
        hash.Add(seed);
        if (from is { IsIPv4MappedToIPv6: true }) from = from.MapToIPv4();
        var bytes = from?.GetAddressBytes() ?? [];
        hash.AddBytes(from?.AddressFamily == AddressFamily.InterNetworkV6 ? bytes.AsSpan(0, 8) : bytes);
        return (int)((uint)hash.ToHashCode() % Counts);
    }

    private static int Slot(string secret, out long mark)
    {
        mark = BitConverter.ToInt64(Secret.Hash(secret));
        return (int)((ulong)mark % Known);
    }
}
