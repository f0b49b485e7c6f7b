using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Api.Data;
using Api.Reconciliation;
using Microsoft.EntityFrameworkCore;
using Microsoft.Net.Http.Headers;

namespace Api.Http;

/// <summary>The answer to a request that was done, for whoever sends it again with the same Idempotency-Key. The key itself is not stored, only its SHA-256,
/// and the answer, which may show a secret, is encrypted under a key that is derived from it: who reads the database reads neither.</summary>
public sealed class IdempotencyKey
{
    public Guid ProjectId { get; init; }
    public required string Actor { get; init; }
    public required byte[] KeySha256 { get; init; }
    /// <summary>Of method, address, If-Match, content type and body.</summary>
    public required byte[] RequestSha256 { get; init; }
    public int Status { get; init; }
    public required byte[] Answer { get; init; }
    public DateTimeOffset CreatedAt { get; init; }
}

/// <summary>A POST that takes no Idempotency-Key: what it does lies outside of the database, and its answer has no bounds.</summary>
public sealed record NotReplayed;

/// <summary>A POST with an Idempotency-Key is done once.
/// Guarantees: what it changes and its stored answer are one transaction, so a crash leaves both or neither; the same request again gets the stored answer, another with the same key 422,
/// one that comes while the first is at work 409. Only what was done is stored: a request that was refused has changed nothing, and is tried anew.
/// Assumes: handlers change the database through the request's own <see cref="SandboxDb"/>.</summary>
public static class Idempotency
{
    public const string Header = "Idempotency-Key", ReplayedHeader = "Idempotency-Replayed";
    public const int MaxLength = 255, MaxBodyBytes = 256 * 1024;
    public static readonly TimeSpan Kept = TimeSpan.FromHours(24);

    public static async Task AnswerOnce(HttpContext http, RequestDelegate next)
    {
        if (!http.Request.Headers.TryGetValue(Header, out var given) || !HttpMethods.IsPost(http.Request.Method) || http.User.Role() is null || !http.Request.Path.StartsWithSegments("/v1") || http.Request.Path.StartsWithSegments("/v1/session"))
        {
            await next(http);
            return;
        }
        if (http.GetEndpoint()?.Metadata.GetMetadata<NotReplayed>() is not null)
        {
            await ApiProblem.Of(400, "idempotency_key_invalid", $"What is done in a guest is not stored to be answered again: send it without {Header}.").ExecuteAsync(http);
            return;
        }
        if (given is not [{ Length: > 0 and <= MaxLength } key] || key.Any(c => c is < '!' or > '~'))
        {
            await ApiProblem.Of(400, "idempotency_key_invalid", $"{Header} takes one value of 1 to {MaxLength} visible ASCII characters.").ExecuteAsync(http);
            return;
        }
        var ct = http.RequestAborted;
        var db = http.RequestServices.GetRequiredService<SandboxDb>();
        var now = http.RequestServices.GetRequiredService<TimeProvider>().GetUtcNow();
        var (project, actor, keyHash, request) = (http.User.ProjectId(), http.User.ActorId(), SHA256.HashData(Encoding.ASCII.GetBytes(key)), await HashAsync(http.Request, ct));

        await using var transaction = await db.BeginAsync(ct);
        if (!await TryLockAsync(db, project, actor, keyHash, ct))
        {
            http.Response.Headers.RetryAfter = "1";
            await ApiProblem.Of(409, "idempotency_in_progress", "A request with that key is being done; ask again for its answer.").ExecuteAsync(http);
            return;
        }
        if (await db.IdempotencyKeys.AsNoTracking().SingleOrDefaultAsync(k => k.ProjectId == project && k.Actor == actor && k.KeySha256 == keyHash, ct) is { } stored)
        {
            if (now - stored.CreatedAt < Kept)
            {
                await ReplayAsync(http, stored, request, key);
                return;
            }
            await db.IdempotencyKeys.Where(k => k.ProjectId == project && k.Actor == actor && k.KeySha256 == keyHash).ExecuteDeleteAsync(ct);
        }

        var body = http.Response.Body;
        using var written = new MemoryStream();
        http.Response.Body = written;
        try
        {
            await next(http);
        }
        finally
        {
            http.Response.Body = body;
        }
        if (http.Response.StatusCode is >= 200 and < 300)
        {
            var answer = new StoredAnswer(http.Response.ContentType, http.Response.Headers.Location, http.Response.Headers.ETag, written.ToArray());
            db.IdempotencyKeys.Add(new IdempotencyKey
            {
                ProjectId = project,
                Actor = actor,
                KeySha256 = keyHash,
                RequestSha256 = request,
                Status = http.Response.StatusCode,
                Answer = Sealed.Close(answer.ToBytes(), key),
                CreatedAt = now,
            });
            await db.SaveChangesAsync(ct);
            await transaction.CommitAsync(ct);
        }
        written.Position = 0;
        await written.CopyToAsync(body, ct);
    }

    private static async Task ReplayAsync(HttpContext http, IdempotencyKey stored, byte[] request, string key)
    {
        if (!CryptographicOperations.FixedTimeEquals(stored.RequestSha256, request))
        {
            await ApiProblem.Of(422, "idempotency_key_reused", "That key was used for another request; take a new one for each request.").ExecuteAsync(http);
            return;
        }
        var answer = StoredAnswer.FromBytes(Sealed.Open(stored.Answer, key));
        http.Response.StatusCode = stored.Status;
        http.Response.Headers[ReplayedHeader] = "true";
        http.Response.ContentType = answer.ContentType;
        http.Response.Headers.Location = answer.Location;
        http.Response.Headers.ETag = answer.ETag;
        await http.Response.Body.WriteAsync(answer.Body, http.RequestAborted);
    }

    /// <summary>Held until the transaction ends, however it does.</summary>
    private static async Task<bool> TryLockAsync(SandboxDb db, Guid project, string actor, byte[] key, CancellationToken ct)
    {
        var name = BinaryPrimitives.ReadInt64LittleEndian(SHA256.HashData([.. project.ToByteArray(), .. Encoding.UTF8.GetBytes(actor), 0, .. key]));
        return (await db.Database.SqlQuery<bool>($"SELECT pg_try_advisory_xact_lock({name}) AS \"Value\"").ToListAsync(ct)).Single();
    }

    private static async Task<byte[]> HashAsync(HttpRequest request, CancellationToken ct)
    {
        // Whole in memory, whose limit is the server's: what users send is not for a file.
        request.EnableBuffering(bufferThreshold: MaxBodyBytes);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        // What decides the answer besides the body: with another If-Match it is another request.
        var match = request.Headers.TryGetValue(HeaderNames.IfMatch, out var tags) ? $" If-Match: {tags}" : "";
        hash.AppendData(Encoding.UTF8.GetBytes($"{request.Method} {request.Path}{request.QueryString}{match}\n{request.ContentType}\n"));
        var buffer = new byte[8192];
        for (int read; (read = await request.Body.ReadAsync(buffer, ct)) > 0;) hash.AppendData(buffer.AsSpan(0, read));
        request.Body.Position = 0;
        return hash.GetHashAndReset();
    }

    private sealed record StoredAnswer(string? ContentType, string? Location, string? ETag, byte[] Body)
    {
        public byte[] ToBytes() => System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(this);

        public static StoredAnswer FromBytes(byte[] bytes) => System.Text.Json.JsonSerializer.Deserialize<StoredAnswer>(bytes)!;
    }

    /// <summary>AES-256-GCM under a key of HKDF-SHA256. Each answer has a salt, and so a key, of its own: the nonce need not differ.</summary>
    private static class Sealed
    {
        private const int TagBytes = 16;
        private static readonly byte[] Nonce = new byte[12], Purpose = "sandbox stored answer"u8.ToArray();

        public static byte[] Close(byte[] plain, string secret)
        {
            var salt = RandomNumberGenerator.GetBytes(TagBytes);
            var whole = new byte[salt.Length + TagBytes + plain.Length];
            salt.CopyTo(whole, 0);
            using var aes = new AesGcm(Derive(secret, salt), TagBytes);
            aes.Encrypt(Nonce, plain, whole.AsSpan(2 * TagBytes), whole.AsSpan(TagBytes, TagBytes));
            return whole;
        }

        public static byte[] Open(byte[] whole, string secret)
        {
            var plain = new byte[whole.Length - 2 * TagBytes];
            using var aes = new AesGcm(Derive(secret, whole[..TagBytes]), TagBytes);
            aes.Decrypt(Nonce, whole.AsSpan(2 * TagBytes), whole.AsSpan(TagBytes, TagBytes), plain);
            return plain;
        }

        private static byte[] Derive(string secret, byte[] salt) => HKDF.DeriveKey(HashAlgorithmName.SHA256, Encoding.ASCII.GetBytes(secret), 32, salt, Purpose);
    }
}

/// <summary>Forgets stored answers after <see cref="Idempotency.Kept"/>. Idempotent; on a crash the next pass goes on.</summary>
public sealed class IdempotencyRetention(IServiceScopeFactory scopes, TimeProvider time, ILogger<IdempotencyRetention> log) : Reconciler(time, TimeSpan.FromMinutes(10), log)
{
    private readonly TimeProvider clock = time;

    protected override async Task PassAsync(CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var before = clock.GetUtcNow() - Idempotency.Kept;
        await scope.ServiceProvider.GetRequiredService<SandboxDb>().IdempotencyKeys.Where(k => k.CreatedAt < before).ExecuteDeleteAsync(ct);
    }
}
