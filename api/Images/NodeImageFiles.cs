using System.Security.Claims;
using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Microsoft.Net.Http.Headers;

namespace Api.Images;

/// <summary>How many files of images go out to nodes at once on this replica.</summary>
public sealed class NodeFileRooms : IDisposable
{
    public const int Most = 32;

    public SemaphoreSlim Rooms { get; } = new(Most);

    public void Dispose() => Rooms.Dispose();
}

/// <summary>Gives a node the files of images that its plan names, and no others. Ranges (RFC 9110 section 14) are answered, so that a node goes on where it was cut off.</summary>
public static class NodeImageFiles
{
    public static async Task<IResult> Get(string sha256, HttpContext http, SandboxDb db, ContentStore store, NodeFileRooms rooms, CancellationToken ct)
    {
        var node = Guid.Parse(http.User.FindFirstValue(Schemes.NodeClaim)!);
        var found = !ImageRules.IsSha256(sha256) ? null : await (from s in db.Sandboxes
                                                                 join f in db.StoredImageFiles on s.ImageId equals f.ImageId
                                                                 join c in db.ImageContents on f.ContentId equals c.Id
                                                                 where s.NodeId == node && c.Sha256 == sha256
                                                                 select new { c.Id, c.Bytes }).FirstOrDefaultAsync(ct);
        if (found is null) return ApiProblem.Of(404, "image_file_not_planned", "No sandbox of the node's plan starts from a file with that digest.");
        if (!await rooms.Rooms.WaitAsync(TimeSpan.Zero, ct))
        {
            http.Response.Headers.RetryAfter = "2";
            return ApiProblem.Of(503, "image_files_busy", "As many nodes as may fetch files of this replica right now; come again.");
        }
        return new Answer(Results.Stream(new ContentStream(store, found.Id, found.Bytes), "application/octet-stream", entityTag: new EntityTagHeaderValue($"\"{sha256}\""), enableRangeProcessing: true), rooms.Rooms);
    }

    private sealed class Answer(IResult file, SemaphoreSlim rooms) : IResult
    {
        public async Task ExecuteAsync(HttpContext httpContext)
        {
            try
            {
                await file.ExecuteAsync(httpContext);
            }
            finally
            {
                rooms.Release();
            }
        }
    }
}
