using System.Net;
using Api.Replicas;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Api.Tests.Replicas;

/// <summary>Whose address counts: nobody but a replica can say that a request came from elsewhere.</summary>
public sealed class ForwardedCallerTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly IDataProtectionProvider _keys = new EphemeralDataProtectionProvider();

    private static DefaultHttpContext Asked(string from, string method = "POST", string path = "/v1/sandboxes/1/exec", string? header = null)
    {
        var http = new DefaultHttpContext();
        (http.Connection.RemoteIpAddress, http.Request.Method, http.Request.Path) = (IPAddress.Parse(from), method, path);
        if (header is not null) http.Request.Headers[ForwardedCaller.Header] = header;
        return http;
    }

    [Theory]
    [InlineData("POST", "/v1/sandboxes/1/exec", 299, "203.0.113.7")]
    [InlineData("POST", "/v1/sandboxes/1/exec", 301, "10.0.0.2")]
    [InlineData("GET", "/v1/sandboxes/1/exec", 0, "10.0.0.2")]
    [InlineData("POST", "/v1/sandboxes/2/exec", 0, "10.0.0.2")]
    public void AddressOf_IsTheSealedOne_ForThatRequestAndTimeOnly(string method, string path, int seconds, string expected)
    {
        var caller = new ForwardedCaller(_keys, _time);
        var header = caller.Seal(Asked("203.0.113.7"));
        _time.Advance(TimeSpan.FromSeconds(seconds));
        var forwarded = Asked("10.0.0.2", method, path, header);
        Assert.True(ForwardedCaller.IsForwarded(forwarded));
        Assert.Equal(IPAddress.Parse(expected), caller.AddressOf(forwarded));
    }

    [Theory]
    [InlineData("203.0.113.7")]
    [InlineData("0\nPOST /v1/sandboxes/1/exec\n203.0.113.7")]
    [InlineData("")]
    public void AddressOf_WhenTheHeaderIsAClientsOwn_IsTheConnections(string header) =>
        Assert.Equal(IPAddress.Parse("10.0.0.2"), new ForwardedCaller(_keys, _time).AddressOf(Asked("10.0.0.2", header: header)));

    [Fact]
    public void AddressOf_WhenSealedUnderOtherKeys_IsTheConnections() =>
        Assert.Equal(IPAddress.Parse("10.0.0.2"), new ForwardedCaller(_keys, _time).AddressOf(Asked("10.0.0.2",
            header: new ForwardedCaller(new EphemeralDataProtectionProvider(), _time).Seal(Asked("203.0.113.7")))));
}
