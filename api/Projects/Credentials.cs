using System.Security.Cryptography;
using Api.Data;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Projects;

/// <summary>From a presented secret or session to who it is: one look-up in an index, on each request, so that an expiry, a rotation or a deletion counts from the next one on.</summary>
public static class Credentials
{
    private static readonly TimeSpan UsePeriod = TimeSpan.FromMinutes(1);

    public static async Task<Caller?> FindKeyAsync(SandboxDb db, string? presented, DateTimeOffset now, CancellationToken ct)
    {
        if (!Secret.HasForm(presented, Secret.ApiKeyPrefix)) return null;
        var hash = Secret.Hash(presented!);
        var found = await (
            from k in db.ApiKeys.AsNoTracking()
            join p in db.Projects on k.ProjectId equals p.Id
            where k.SecretSha256 == hash || k.PreviousSha256 == hash
            select new { Key = k, p.Operates }).SingleOrDefaultAsync(ct);
        if (found is null || !IsGood(found.Key, hash, now)) return null;
        if (found.Key.LastUsedAt is not { } last || now - last >= UsePeriod) await UsedAsync(db, found.Key.Id, now, ct);
        return new Caller(found.Key.ProjectId, found.Operates, found.Key.Role, found.Key.Name, found.Key.Id, null, null);
    }

    private static bool IsGood(ApiKey key, byte[] hash, DateTimeOffset now) =>
        (key.ExpiresAt is null || key.ExpiresAt > now)
        && (CryptographicOperations.FixedTimeEquals(key.SecretSha256, hash)
            || key.PreviousUntil > now && CryptographicOperations.FixedTimeEquals(key.PreviousSha256, hash));

    public static async Task<Caller?> FindSessionAsync(SandboxDb db, Guid id, DateTimeOffset now, CancellationToken ct)
    {
        var found = await (
            from s in db.Sessions.AsNoTracking()
            join p in db.Projects on s.ProjectId equals p.Id
            join k in db.ApiKeys on s.KeyId equals k.Id into keys
            from k in keys.DefaultIfEmpty()
            where s.Id == id && s.ExpiresAt > now && (k.ExpiresAt == null || k.ExpiresAt > now)
            select new { Session = s, p.Operates, UsedAt = k.LastUsedAt }).SingleOrDefaultAsync(ct);
        if (found is null) return null;
        if (found.Session.KeyId is { } key && (found.UsedAt is not { } last || now - last >= UsePeriod)) await UsedAsync(db, key, now, ct);
        return new Caller(found.Session.ProjectId, found.Operates, found.Session.Role, found.Session.Name, found.Session.KeyId, found.Session.Id, found.Session.Subject);
    }

    /// <summary>Requests at the same moment, here or on another replica, write it once.</summary>
    private static async Task UsedAsync(SandboxDb db, Guid key, DateTimeOffset now, CancellationToken ct)
    {
        var before = now - UsePeriod;
        await db.ApiKeys.Where(k => k.Id == key && (k.LastUsedAt == null || k.LastUsedAt <= before)).ExecuteUpdateAsync(u => u.SetProperty(k => k.LastUsedAt, now), ct);
    }
}
